//! Ports of pods, reached through the API server.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::DuplexStream;

use super::Cluster;
use crate::failure::Failure;

/// What the far end of a forwarded port said went wrong there, if it said something.
pub(crate) type Said = Arc<Mutex<Option<String>>>;

impl Cluster {
    /// Opens a way to a port of a pod.
    pub(crate) async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> Result<(DuplexStream, Said), Failure> {
        let doing = format!("forward port {port} of pod `{namespace}/{pod}`");
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), namespace);
        let mut forwarder =
            pods.portforward(pod, &[port]).await.map_err(|error| self.failure(&error, &doing))?;
        let said = Said::default();
        let (stream, error) = (forwarder.take_stream(port), forwarder.take_error(port));
        let heard = Arc::clone(&said);
        tokio::spawn(async move {
            if let Some(Some(message)) = futures::future::OptionFuture::from(error).await {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
            }
        });
        let stream = stream.ok_or_else(|| Failure::transient(format!("cannot {doing}: it gave no stream")))?;
        Ok((stream, said))
    }
}
