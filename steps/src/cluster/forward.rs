//! Ports of pods, reached through the API server.

use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::DuplexStream;

use super::Cluster;
use crate::failure::Failure;

/// What the far end of a forwarded port says went wrong there, if it says something, once the port is closed.
pub(crate) type Said = BoxFuture<'static, Option<String>>;

impl Cluster {
    /// Opens a way to a port of a pod.
    pub(crate) async fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<(DuplexStream, Said), Failure> {
        let doing = format!("forward port {port} of pod `{namespace}/{pod}`");
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), namespace);
        let mut forwarder = pods.portforward(pod, &[port]).await.map_err(|error| self.failure(&error, &doing))?;
        let stream = forwarder.take_stream(port);
        let said = OptionFuture::from(forwarder.take_error(port)).map(Option::flatten).boxed();
        let stream = stream.ok_or_else(|| Failure::transient(format!("cannot {doing}: it gave no stream")))?;
        Ok((stream, said))
    }
}
