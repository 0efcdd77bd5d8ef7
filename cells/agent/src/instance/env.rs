//! The environment of an instance: what the server sent, and what only the cell knows.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use model::protocol::cell::{InstanceSpec, Isolation};
use model::secret::Env;

/// Cloud Foundry's port; every container has its own network, so all have the same.
const PORT: u16 = 8080;

/// The port the app shall listen on. Plain processes share the host's ports, so each gets a free one.
pub(super) fn choose_port(isolation: Isolation) -> io::Result<u16> {
    match isolation {
        Isolation::Container => Ok(PORT),
        Isolation::Process => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port()),
    }
}

/// Adds to the environment that the order brought what an app that listens finds: ports, and which instance it is.
pub(super) fn complete(spec: &InstanceSpec, isolation: Isolation, own_port: u16) -> Env {
    let mut env = spec.env.clone();
    let port = own_port.to_string();
    for (name, value) in [
        ("PORT", port.as_str()),
        ("VCAP_APP_PORT", &port),
        ("VCAP_APP_HOST", "0.0.0.0"),
        ("CF_INSTANCE_PORT", &port),
        (
            "CF_INSTANCE_PORTS",
            &format!(r#"[{{"external":{port},"internal":{port}}}]"#),
        ),
        ("CF_INSTANCE_INDEX", &spec.index.to_string()),
        ("INSTANCE_INDEX", &spec.index.to_string()),
    ] {
        env.set(name, value);
    }
    if isolation == Isolation::Process {
        // In a container, the engine knows the address only when it has made the network, and sets these itself.
        let address = Ipv4Addr::LOCALHOST.to_string();
        env.set("CF_INSTANCE_IP", address.as_str());
        env.set("CF_INSTANCE_INTERNAL_IP", address.as_str());
        env.set("CF_INSTANCE_ADDR", format!("{address}:{port}"));
    }
    let application = env
        .get("VCAP_APPLICATION")
        .map(|text| describe_instance(text, spec, own_port));
    if let Some(application) = application {
        env.set("VCAP_APPLICATION", application);
    }
    env
}

/// Adds to `VCAP_APPLICATION` what Cloud Foundry's launcher adds. A text that is no object stays as it is.
fn describe_instance(text: &str, spec: &InstanceSpec, port: u16) -> String {
    let Ok(serde_json::Value::Object(mut application)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    application.insert("instance_id".into(), spec.instance.to_string().into());
    application.insert("instance_index".into(), spec.index.into());
    application.insert("host".into(), "0.0.0.0".into());
    application.insert("port".into(), port.into());
    serde_json::Value::Object(application).to_string()
}
