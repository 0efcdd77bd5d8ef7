//! The manifest that makes an app as it is now, for `create-app-manifest`.

use model::health::HealthCheckKind;
use model::ids::AppId;
use model::manifest::{
    AppManifest, CheckType, Manifest, MetadataManifest, ProcessManifest, ProcessSettings,
    RouteManifest, ServiceManifest, Setting,
};
use model::secret::Secret;
use store::records::{App, Metadata, PageRequest, Process};
use store::{BindingFilter, RouteFilter, ServiceInstanceFilter};

use crate::processes::log_rate_number;
use crate::{Actor, Control, Result};

impl Control {
    /// The app as YAML that `apply_manifest` takes. It has the app's variables, which may be secrets; credentials of
    /// services are not part of it.
    pub async fn app_manifest(&self, actor: &Actor, id: AppId) -> Result<String> {
        let app = self.app(actor, id).await?;
        let mut manifest = AppManifest::named(app.name.clone());
        if !app.buildpacks.is_empty() {
            manifest.buildpacks = Setting::Set(app.buildpacks.clone());
        }
        manifest.stack = app.stack.clone().map_or(Setting::Keep, Setting::Set);
        let env = app.env.iter();
        manifest.env = env
            .map(|(name, value)| (name.to_owned(), Some(Secret::new(value.to_owned()))))
            .collect();
        manifest.metadata = metadata(&app.metadata);
        manifest.services = self.bound_services(&app).await?;
        self.export_routes(&app, &mut manifest).await?;
        let processes = self.processes_of(id).await?;
        manifest.processes = processes
            .iter()
            .map(|process| ProcessManifest {
                kind: process.process_type.clone(),
                settings: settings(process),
            })
            .collect();
        let manifest = Manifest {
            version: None,
            applications: vec![manifest],
        };
        Ok(manifest.to_yaml())
    }

    async fn bound_services(&self, app: &App) -> Result<Vec<ServiceManifest>> {
        let filter = BindingFilter {
            apps: vec![app.id],
            ..BindingFilter::default()
        };
        let bindings = self
            .store()
            .list_bindings(&filter, PageRequest::ALL)
            .await?
            .items;
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        let filter = ServiceInstanceFilter {
            guids: bindings
                .iter()
                .map(|binding| binding.service_instance)
                .collect(),
            ..ServiceInstanceFilter::default()
        };
        let instances = self
            .store()
            .list_service_instances(&filter, PageRequest::ALL)
            .await?
            .items;
        let services = bindings.into_iter().filter_map(|binding| {
            let instance = instances
                .iter()
                .find(|instance| instance.id == binding.service_instance)?;
            Some(ServiceManifest {
                name: instance.name.clone(),
                binding_name: binding.name,
                parameters: None,
            })
        });
        Ok(services.collect())
    }

    async fn export_routes(&self, app: &App, manifest: &mut AppManifest) -> Result<()> {
        let filter = RouteFilter {
            apps: vec![app.id],
            ..RouteFilter::default()
        };
        let routes = self
            .store()
            .list_routes(&filter, PageRequest::ALL)
            .await?
            .items;
        if routes.is_empty() {
            manifest.no_route = Some(true);
            return Ok(());
        }
        // Without the port: the manifest then also suits a platform at another one.
        let name = |host: &str, domain: &str| match host {
            "" => domain.to_owned(),
            host => format!("{host}.{domain}"),
        };
        let routes = routes.iter().map(|route| RouteManifest {
            route: format!("{}{}", name(&route.host, &route.domain_name), route.path),
            protocol: None,
            options: serde_json::Map::new(),
        });
        manifest.routes = Some(routes.collect());
        Ok(())
    }
}

fn metadata(metadata: &Metadata) -> Option<MetadataManifest> {
    if *metadata == Metadata::default() {
        return None;
    }
    let wishes = |texts: &std::collections::BTreeMap<String, String>| {
        texts
            .iter()
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect()
    };
    Some(MetadataManifest {
        labels: wishes(&metadata.labels),
        annotations: wishes(&metadata.annotations),
    })
}

fn settings(process: &Process) -> ProcessSettings {
    let (kind, endpoint) = match &process.health.kind {
        HealthCheckKind::Port => (CheckType::Port, Setting::Keep),
        HealthCheckKind::Process => (CheckType::Process, Setting::Keep),
        HealthCheckKind::Http { endpoint } => (CheckType::Http, Setting::Set(endpoint.clone())),
    };
    let seconds = |duration: std::time::Duration| {
        Setting::Set(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
    };
    ProcessSettings {
        command: process.command.clone().map_or(Setting::Keep, Setting::Set),
        instances: Setting::Set(process.instances),
        memory: Setting::Set(process.memory),
        disk_quota: Setting::Set(process.disk),
        log_rate_limit: process.log_rate.map_or(Setting::Keep, |rate| {
            Setting::Set(log_rate_number(Some(rate)))
        }),
        health_check_type: Setting::Set(kind),
        health_check_http_endpoint: endpoint,
        health_check_invocation_timeout: seconds(process.health.invocation_timeout),
        timeout: seconds(process.health.start_timeout),
        ..ProcessSettings::default()
    }
}
