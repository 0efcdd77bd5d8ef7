//! For operators: figures and health. Served on the admin listener only, which by default is a unix socket.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use api_control::{Control, Counts};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// `/metrics`, `/healthz` (the process answers) and `/readyz` (wishes can come true; with alarms, a line each).
pub fn admin(control: Control) -> Router {
    let state = Admin {
        control,
        figures: Arc::new(Figures::new()),
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(state)
}

#[derive(Debug, Clone)]
struct Admin {
    control: Control,
    figures: Arc<Figures>,
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.control.is_ready().await {
        let alarms = admin.control.alarms();
        let alarms = alarms.iter().map(|alarm| format!("alarm: {alarm}\n"));
        format!("ok\n{}", alarms.collect::<String>()).into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not all known cells have reported, or the store does not answer\n",
        )
            .into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.figures.text(admin.control.counts()) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "metrics were not written"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

type Figure = Gauge<i64, AtomicI64>;

/// Gauges that are set anew whenever somebody looks.
#[derive(Debug)]
struct Figures {
    registry: Registry,
    cells: Figure,
    awaited: Figure,
    lost: Figure,
    desired: Figure,
    starting: Figure,
    running: Figure,
    stopping: Figure,
    exited: Figure,
    routes: Figure,
}

impl Figures {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("slipway");
        let mut figure = |name: &str, help: &str, unit: &str| {
            let gauge = Figure::default();
            registry.register_with_unit(name, help, Unit::Other(unit.to_owned()), gauge.clone());
            gauge
        };
        let cells = figure("connected", "Cells that are connected", "cells");
        let awaited = figure(
            "awaited",
            "Cells that have not reported to this server yet",
            "cells",
        );
        let lost = figure(
            "lost",
            "Cells that were lost at once, while replacements wait for their return",
            "cells",
        );
        let desired = figure("desired", "Instances that should run", "instances");
        let starting = figure(
            "starting",
            "Instances that are not healthy yet",
            "instances",
        );
        let running = figure("running", "Instances that are healthy", "instances");
        let stopping = figure("stopping", "Instances that were asked to end", "instances");
        let exited = figure(
            "exited",
            "Instances that ended and are still reported",
            "instances",
        );
        let routes = figure("known", "Routes in the routers' table", "routes");
        Self {
            cells,
            awaited,
            lost,
            desired,
            starting,
            running,
            stopping,
            exited,
            routes,
            registry,
        }
    }

    fn text(&self, counts: Counts) -> Result<String, std::fmt::Error> {
        let wide = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.cells.set(wide(counts.cells as u64));
        self.awaited.set(wide(counts.awaited_cells as u64));
        self.lost.set(wide(counts.lost_cells as u64));
        self.desired.set(wide(counts.desired_instances));
        self.starting.set(wide(counts.starting));
        self.running.set(wide(counts.running));
        self.stopping.set(wide(counts.stopping));
        self.exited.set(wide(counts.exited));
        self.routes.set(wide(counts.routes as u64));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units_in_their_names() {
        let counts = Counts {
            cells: 2,
            desired_instances: 5,
            lost_cells: 3,
            running: 4,
            ..Counts::default()
        };
        let text = Figures::new().text(counts).expect("writes");
        for line in [
            "slipway_connected_cells 2",
            "slipway_lost_cells 3",
            "slipway_desired_instances 5",
            "slipway_running_instances 4",
        ] {
            assert!(
                text.lines().any(|known| known == line),
                "{line} in:\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
