//! Why a request got no whole answer: the kinds that are counted and told apart, and how each reads to a person.

use std::fmt;
use std::io;

use crate::failure::Failure;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Nobody listens there.
    Refused,
    /// There is no such host, or no way to it.
    Unreachable,
    /// The certificate is not trusted.
    Untrusted,
    /// TLS did not come about for another reason.
    Tls,
    /// The other side ended the connection in the middle of it.
    Reset,
    /// It took too long.
    Timeout,
    /// What came back is not HTTP.
    Garbled,
    /// It was sent on to another host, which may not have its secret.
    Withheld,
}

impl Trouble {
    /// The name under which it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Trouble::Refused => "refused",
            Trouble::Unreachable => "unreachable",
            Trouble::Untrusted => "untrusted",
            Trouble::Tls => "tls",
            Trouble::Reset => "reset",
            Trouble::Timeout => "timeout",
            Trouble::Garbled => "garbled",
            Trouble::Withheld => "withheld",
        }
    }
}

/// A request that got no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) kind: Trouble,
    pub(crate) text: String,
}

impl Broken {
    pub(crate) fn new(kind: Trouble, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The failure of a step that needed the answer.
    pub(crate) fn failure(&self, url: &str) -> Failure {
        let text = &self.text;
        match self.kind {
            Trouble::Untrusted => Failure::permanent(format!("cannot trust `{url}`: {text}"))
                .cause("its certificate is not signed by an authority that this machine trusts, or is for another name")
                .fix("name the authority's certificates in `ca_bundle`, or the certificate's name in `server_name`"),
            Trouble::Garbled => Failure::permanent(format!("`{url}` does not speak HTTP/1: {text}"))
                .cause("the port belongs to something else, or wants TLS (`https://`)"),
            Trouble::Withheld => Failure::permanent(format!("`{url}`: {text}"))
                .fix("if that host may have the secret, name its address in `url`"),
            Trouble::Timeout => Failure::transient(format!("`{url}`: no answer in time: {text}")),
            _ => Failure::transient(format!("`{url}`: no answer: {text}")),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::new(kind_of(&error), error.to_string())
    }
}

fn kind_of(error: &io::Error) -> Trouble {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, error.kind()) {
        (Some(rustls::Error::InvalidCertificate(_)), _) => Trouble::Untrusted,
        (Some(_), _) => Trouble::Tls,
        (None, io::ErrorKind::ConnectionRefused) => Trouble::Refused,
        (None, io::ErrorKind::TimedOut) => Trouble::Timeout,
        (
            None,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected,
        ) => Trouble::Reset,
        (None, _) => Trouble::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    #[test]
    fn errors_have_their_kinds() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, Trouble::Refused),
            (io::ErrorKind::ConnectionReset, Trouble::Reset),
            (io::ErrorKind::BrokenPipe, Trouble::Reset),
            (io::ErrorKind::TimedOut, Trouble::Timeout),
            (io::ErrorKind::Other, Trouble::Unreachable),
        ] {
            assert_eq!(Broken::from(io::Error::from(kind)).kind, expected, "{kind:?}");
        }
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(Broken::from(io::Error::other(untrusted)).kind, Trouble::Untrusted);
    }

    #[test]
    fn what_may_pass_is_transient_and_what_may_not_is_permanent() {
        for (kind, class) in [
            (Trouble::Refused, Class::Transient),
            (Trouble::Reset, Class::Transient),
            (Trouble::Timeout, Class::Transient),
            (Trouble::Untrusted, Class::Permanent),
            (Trouble::Garbled, Class::Permanent),
            (Trouble::Withheld, Class::Permanent),
        ] {
            assert_eq!(Broken::new(kind, "x").failure("http://a").class, class, "{kind:?}");
        }
    }
}
