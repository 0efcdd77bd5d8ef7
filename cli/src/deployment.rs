//! Following a deployment to its end.

use std::time::{Duration, Instant};

use api_types::{App, CreateDeployment, Deployment};
use http::Method;

use crate::client::Call;
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};

/// `cf`'s startup timeout.
const LIMIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(500);

/// Asks for a deployment and waits until it is done. One that fails has been taken back by the server.
pub(crate) async fn follow(cx: &Context, app: &App, request: &CreateDeployment) -> Outcome {
    let deployment: Deployment = cx.client.post("/v3/deployments", request).await?;
    let path = format!("/v3/deployments/{}", deployment.guid);
    let begun = Instant::now();
    loop {
        let now: Deployment = cx.client.get(&path).await?;
        match (now.status.value.as_str(), now.status.reason.as_str()) {
            ("FINALIZED", "DEPLOYED") => return Ok(()),
            ("FINALIZED", reason) => {
                let hint = format!("slipway logs {} --recent", app.name);
                let error = match &now.status.details.error {
                    Some(cause) => {
                        CliError::from_text(&format!("web {cause}"), "E-START", Exit::Start)
                    }
                    None => {
                        let message = format!("the deployment ended as {reason}");
                        CliError::new("E-START", Exit::Start, message)
                    }
                };
                return Err(error
                    .lines(["kept       the release before is still live; nothing changed for your users".to_owned()])
                    .hint(hint));
            }
            _ if begun.elapsed() > LIMIT => {
                cx.client
                    .send(Call::new(
                        Method::POST,
                        cx.client.at(&format!("{path}/actions/cancel")),
                    ))
                    .await?;
                let message = format!(
                    "the deployment has not ended in {} s and was cancelled",
                    LIMIT.as_secs()
                );
                return Err(CliError::new("E-START", Exit::Start, message)
                    .hint(format!("slipway app {}", app.name)));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
