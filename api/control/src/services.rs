//! User-provided services and bindings.

use model::ids::{AppId, BindingId, ServiceInstanceId, SpaceId};
use model::secret::Secret;
use serde_json::{Map, Value, json};
use store::records::{Binding, Metadata, Page, PageRequest, ServiceInstance};
use store::{BindingFilter, ServiceInstanceFilter, ServiceInstanceUpdate};

use crate::control::Target;
use crate::env::limits;
use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result};

#[derive(Debug, Clone)]
pub struct NewServiceInstance {
    pub space: SpaceId,
    pub name: String,
    pub credentials: Secret<Map<String, Value>>,
    pub tags: Vec<String>,
    pub syslog_drain_url: Option<Secret>,
    pub route_service_url: Option<String>,
    pub metadata: Metadata,
}

/// Half of what a variable can carry, see [`crate::env::limits`]: several services share VCAP_SERVICES.
const MAX_CREDENTIALS_BYTES: usize = 64 * 1024;

impl Control {
    pub async fn create_service_instance(
        &self,
        actor: &Actor,
        new: NewServiceInstance,
    ) -> Result<ServiceInstance> {
        self.space_of(new.space).await?;
        if new.name.trim().is_empty()
            || new.name.len() > 255
            || new.name.chars().any(char::is_control)
        {
            return Err(Error::unprocessable(
                "name must be 1 to 255 printable characters",
            ));
        }
        check_credentials(&new.credentials)?;
        refuse_unsupported(new.route_service_url.as_deref())?;
        let now = store::now_us();
        let instance = ServiceInstance {
            id: ServiceInstanceId::random(),
            space: new.space,
            name: new.name,
            credentials: new.credentials,
            tags: new.tags,
            syslog_drain_url: new.syslog_drain_url,
            route_service_url: new.route_service_url,
            metadata: new.metadata,
            created_us: now,
            updated_us: now,
        };
        self.store()
            .insert_service_instance(&instance)
            .await
            .map_err(|error| taken(error, &instance.name))?;
        self.audit_service(
            actor,
            "audit.user_provided_service_instance.create",
            &instance,
        )
        .await;
        Ok(instance)
    }

    pub async fn list_service_instances(
        &self,
        _: &Actor,
        filter: &ServiceInstanceFilter,
        page: PageRequest,
    ) -> Result<Page<ServiceInstance>> {
        Ok(self.store().list_service_instances(filter, page).await?)
    }

    pub async fn service_instance(
        &self,
        _: &Actor,
        id: ServiceInstanceId,
    ) -> Result<ServiceInstance> {
        self.store()
            .find_service_instance(id)
            .await
            .or_not_found("Service instance")
    }

    /// Apps get what changed at their next start.
    pub async fn update_service_instance(
        &self,
        actor: &Actor,
        id: ServiceInstanceId,
        change: ServiceInstanceUpdate,
    ) -> Result<ServiceInstance> {
        let known = self.service_instance(actor, id).await?;
        if let Some(credentials) = &change.credentials {
            check_credentials(credentials)?;
        }
        refuse_unsupported(
            change
                .route_service_url
                .as_ref()
                .and_then(|url| url.as_deref()),
        )?;
        if let Some(credentials) = &change.credentials {
            self.check_bound_apps(id, credentials).await?;
        }
        let name = change.name.clone().unwrap_or(known.name);
        let instance = self
            .store()
            .update_service_instance(id, &change)
            .await
            .map_err(|error| taken(error, &name))?;
        self.audit_service(
            actor,
            "audit.user_provided_service_instance.update",
            &instance,
        )
        .await;
        Ok(instance)
    }

    /// Refuses credentials with which some app that is bound could not start any more.
    async fn check_bound_apps(
        &self,
        id: ServiceInstanceId,
        credentials: &Secret<Map<String, Value>>,
    ) -> Result<()> {
        let bindings = BindingFilter {
            service_instances: vec![id],
            ..BindingFilter::default()
        };
        let bindings = self
            .store()
            .list_bindings(&bindings, PageRequest::ALL)
            .await?;
        for binding in bindings.items {
            let Some(app) = self.store().find_app(binding.app).await? else {
                continue;
            };
            let mut services = self.surroundings(&app).await?.services;
            for (_, instance) in services.iter_mut().filter(|(_, known)| known.id == id) {
                instance.credentials = credentials.clone();
            }
            limits::check_whole(&app.env, &services).map_err(|error| {
                Error::Unprocessable(format!("app '{}' is bound: {error}", app.name))
            })?;
        }
        Ok(())
    }

    pub async fn delete_service_instance(
        &self,
        actor: &Actor,
        id: ServiceInstanceId,
    ) -> Result<()> {
        let instance = self.service_instance(actor, id).await?;
        let bindings = BindingFilter {
            service_instances: vec![id],
            ..BindingFilter::default()
        };
        let bound = self
            .store()
            .list_bindings(&bindings, PageRequest::ALL)
            .await?;
        if bound.total > 0 {
            return Err(Error::Unprocessable(format!(
                "service instance '{}' is bound to {} app(s); unbind it first",
                instance.name, bound.total
            )));
        }
        self.store()
            .delete_service_instance(id)
            .await
            .or_not_found("Service instance")?;
        self.audit_service(
            actor,
            "audit.user_provided_service_instance.delete",
            &instance,
        )
        .await;
        Ok(())
    }

    pub async fn create_binding(
        &self,
        actor: &Actor,
        app: AppId,
        instance: ServiceInstanceId,
        name: Option<String>,
    ) -> Result<Binding> {
        let app = self.app(actor, app).await?;
        let instance = self.service_instance(actor, instance).await?;
        if app.space != instance.space {
            return Err(Error::unprocessable(
                "The service instance and the app are in different spaces",
            ));
        }
        let binding = Binding {
            id: BindingId::random(),
            app: app.id,
            service_instance: instance.id,
            name,
            created_us: store::now_us(),
        };
        let mut services = self.surroundings(&app).await?.services;
        services.push((binding.clone(), instance.clone()));
        limits::check_whole(&app.env, &services)?;
        self.store()
            .insert_binding(&binding)
            .await
            .map_err(|error| match error {
                store::Error::Conflict(_) => {
                    Error::unprocessable("The app is already bound to the service instance")
                }
                other => other.into(),
            })?;
        let target = Target {
            guid: binding.id.to_string(),
            kind: "service_binding",
            name: &instance.name,
            space: Some(app.space),
        };
        self.audit(
            actor,
            "audit.service_binding.create",
            target,
            json!({ "app_guid": app.id }),
        )
        .await;
        Ok(binding)
    }

    pub async fn list_bindings(
        &self,
        _: &Actor,
        filter: &BindingFilter,
        page: PageRequest,
    ) -> Result<Page<Binding>> {
        Ok(self.store().list_bindings(filter, page).await?)
    }

    pub async fn binding(&self, _: &Actor, id: BindingId) -> Result<Binding> {
        let filter = BindingFilter {
            guids: vec![id],
            ..BindingFilter::default()
        };
        let found = self
            .store()
            .list_bindings(&filter, PageRequest::ALL)
            .await?
            .items;
        found.into_iter().next().ok_or(Error::NotFound {
            what: "Service credential binding",
        })
    }

    pub async fn delete_binding(&self, actor: &Actor, id: BindingId) -> Result<()> {
        let binding = self.binding(actor, id).await?;
        self.store()
            .delete_binding(id)
            .await
            .or_not_found("Service credential binding")?;
        let space = self
            .store()
            .find_app(binding.app)
            .await?
            .map(|app| app.space);
        let target = Target {
            guid: id.to_string(),
            kind: "service_binding",
            name: "",
            space,
        };
        self.audit(
            actor,
            "audit.service_binding.delete",
            target,
            json!({ "app_guid": binding.app }),
        )
        .await;
        Ok(())
    }

    async fn audit_service(&self, actor: &Actor, event_type: &str, instance: &ServiceInstance) {
        let target = Target {
            guid: instance.id.to_string(),
            kind: "user_provided_service_instance",
            name: &instance.name,
            space: Some(instance.space),
        };
        self.audit(actor, event_type, target, json!({})).await;
    }
}

fn check_credentials(credentials: &Secret<Map<String, Value>>) -> Result<()> {
    let bytes = serde_json::to_vec(credentials.expose())
        .map_err(Error::internal)?
        .len();
    if bytes > MAX_CREDENTIALS_BYTES {
        return Err(Error::Unprocessable(format!(
            "credentials are {bytes} bytes; at most {MAX_CREDENTIALS_BYTES} are possible"
        )));
    }
    Ok(())
}

fn refuse_unsupported(route_service_url: Option<&str>) -> Result<()> {
    match route_service_url {
        None | Some("") => Ok(()),
        Some(_) => Err(Error::unprocessable(
            "route services are not supported by this platform",
        )),
    }
}

fn taken(error: store::Error, name: &str) -> Error {
    match error {
        store::Error::Conflict(_) => {
            Error::Conflict(format!("The service instance name is taken: {name}."))
        }
        store::Error::Missing => Error::NotFound {
            what: "Service instance",
        },
        other => other.into(),
    }
}
