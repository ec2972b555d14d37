//! From a kubeconfig file to a client's configuration: credential plugins run with the world's programs and environment.

use std::collections::HashMap;
use std::path::Path;

use kube::Config;
use kube::config::{ExecConfig, ExecInteractiveMode, KubeConfigOptions, Kubeconfig};

use crate::failure::{Class, Failure};
use crate::world::World;

/// Reads the file and makes it fit for this world.
pub(super) async fn load(world: &World, path: &Path) -> Result<Config, Failure> {
    let mut kubeconfig = Kubeconfig::read_from(path).map_err(|error| broken(path, &error))?;
    let user = current_user(&kubeconfig);
    for named in &mut kubeconfig.auth_infos {
        if let Some(exec) = named.auth_info.as_mut().and_then(|info| info.exec.as_mut()) {
            let in_use = user.as_ref() == Some(&named.name);
            adapt(exec, world).or_else(|failure| if in_use { Err(failure) } else { Ok(()) })?;
        }
    }
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| broken(path, &error))?;
    config.default_retry = false;
    config.proxy_url = None;
    config.accept_invalid_certs = false;
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    Ok(config)
}

fn current_user(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == *current)?;
    context.context.as_ref()?.user.clone()
}

/// The client library starts plugins with our own PATH and terminal; this gives them the world's, and no terminal.
fn adapt(exec: &mut ExecConfig, world: &World) -> Result<(), Failure> {
    let command = exec.command.clone().unwrap_or_default();
    let program = world.find_program(&command).ok_or_else(|| missing_plugin(&command, exec))?;
    exec.command = Some(program.to_string_lossy().into_owned());
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
    let own = exec.env.take().unwrap_or_default();
    let world = world.env.iter().map(|(name, value)| pair(&name.to_string_lossy(), &value.to_string_lossy()));
    exec.env = Some(world.chain(own).collect());
    Ok(())
}

fn pair(name: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([("name".to_owned(), name.to_owned()), ("value".to_owned(), value.to_owned())])
}

fn missing_plugin(command: &str, exec: &ExecConfig) -> Failure {
    let hint = match command.rsplit('/').next() {
        Some("gke-gcloud-auth-plugin") => "install it: `gcloud components install gke-gcloud-auth-plugin`".to_owned(),
        _ => exec.install_hint.clone().unwrap_or_else(|| format!("install `{command}` and put it on PATH")),
    };
    Failure::new(Class::NotFound, format!("credential plugin `{command}` is not on PATH"))
        .cause("the kubeconfig logs in to the cluster through this program")
        .fix(hint)
}

fn broken(path: &Path, error: &kube::config::KubeconfigError) -> Failure {
    Failure::invalid(format!("cannot use the kubeconfig `{}`: {error}", path.display()))
        .fix("run the step with `gke.credentials` again; it writes the file anew")
}
