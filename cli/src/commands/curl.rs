//! Any call of the API, with the token of the login.

use std::path::Path;

use http::Method;

use crate::client::{Call, Payload};
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};

/// Make a call of the API and print what it answers
#[derive(Debug, clap::Args)]
pub(crate) struct Curl {
    /// Such as /v3/apps
    pub(crate) path: String,
    /// Method [default: GET, or POST with -d]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) request: Option<String>,
    /// Header such as 'Content-Type: application/x-yaml'; may be given more than once
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// Body, or @FILE
    #[arg(short, long, value_name = "BODY", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Print status and headers before the body
    #[arg(short, long)]
    pub(crate) include: bool,
    /// End with 22 where the answer is an error
    #[arg(short, long)]
    pub(crate) fail: bool,
}

impl Curl {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let name = self
            .request
            .clone()
            .unwrap_or_else(|| if self.data.is_some() { "POST" } else { "GET" }.to_owned());
        let method = Method::from_bytes(name.to_uppercase().as_bytes());
        let method = method.map_err(|_| {
            CliError::usage(format!("'{name}' is not a method")).hint("slipway curl -X PATCH …")
        })?;
        let mut call = Call::new(method, cx.client.at(&self.path)).any_status();
        let mut typed = false;
        for header in &self.headers {
            let wrong = || CliError::usage("a header has the form 'Name: value'");
            let (name, value) = header.split_once(':').ok_or_else(wrong)?;
            typed |= name.trim().eq_ignore_ascii_case("content-type");
            call = call.header(name.trim(), value.trim());
        }
        if let Some(data) = &self.data {
            let bytes = match data.strip_prefix('@') {
                Some(path) => {
                    let path = Path::new(path);
                    std::fs::read(path).map_err(|error| CliError::file(path, "read", &error))?
                }
                None => data.clone().into_bytes(),
            };
            call = call.payload(if typed {
                Payload::Raw(bytes.into())
            } else {
                Payload::Json(bytes.into())
            });
        }
        let answer = cx.client.send(call).await?;
        if self.include {
            cx.ui.data(format!("HTTP/1.1 {}", answer.status))?;
            for (name, value) in &answer.headers {
                cx.ui.data(format!(
                    "{name}: {}",
                    String::from_utf8_lossy(value.as_bytes())
                ))?;
            }
            cx.ui.data("")?;
        }
        cx.ui.raw(&answer.body)?;
        // A file stays as it is.
        if answer.is_json() && !answer.body.is_empty() && !answer.body.ends_with(b"\n") {
            cx.ui.data("")?;
        }
        if self.fail && !answer.status.is_success() {
            let message = format!("the server answered with {}", answer.status);
            return Err(CliError::new("E-HTTP", Exit::HttpError, message));
        }
        Ok(())
    }
}
