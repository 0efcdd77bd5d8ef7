//! What Linux carries to a process, so that nobody learns of it from a start that fails.

use model::secret::Env;
use store::records::{Binding, ServiceInstance};

use super::vcap_services;
use crate::{Error, Result};

/// `MAX_ARG_STRLEN` of `execve(2)`, 32 pages: one `NAME=value` with the zero byte at its end.
const MAX_VARIABLE: usize = 128 * 1024;
/// All variables together. Linux has a quarter of the stack's limit for them and the arguments, commonly 2 MiB.
const MAX_WHOLE: usize = 1024 * 1024;
/// How many services are named as the largest.
const LARGEST: usize = 3;

const SERVICES: &str = "VCAP_SERVICES";

/// `NAME=value` and a zero byte.
const fn bytes(name: &str, value: &str) -> usize {
    name.len() + value.len() + 2
}

/// Refuses a variable that is too long for any process.
pub(crate) fn check_variable(name: &str, value: &str) -> Result<()> {
    let bytes = bytes(name, value);
    if bytes <= MAX_VARIABLE {
        return Ok(());
    }
    Err(Error::Unprocessable(format!(
        "variable '{name}' has {bytes} bytes with its name; Linux carries at most {MAX_VARIABLE} to a process; put it into a file \
         of the app, or split it"
    )))
}

/// Refuses services whose credentials together are too long for `VCAP_SERVICES`.
pub(crate) fn check_services(services: &[(Binding, ServiceInstance)]) -> Result<()> {
    let text = vcap_services(services).to_string();
    let whole = bytes(SERVICES, &text);
    if whole <= MAX_VARIABLE {
        return Ok(());
    }
    let mut sizes = services
        .iter()
        .map(|one| {
            let bytes = vcap_services(std::slice::from_ref(one)).to_string().len();
            (bytes, one.1.name.as_str())
        })
        .collect::<Vec<_>>();
    sizes.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let named = sizes
        .iter()
        .take(LARGEST)
        .map(|(bytes, name)| format!("'{name}' {bytes}"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(Error::Unprocessable(format!(
        "{SERVICES} would have {whole} bytes; Linux carries at most {MAX_VARIABLE} to a process; the largest services: {named}; \
         unbind one, or give it smaller credentials"
    )))
}

/// Refuses variables that are too many bytes together, those of the services among them.
pub(crate) fn check_whole(env: &Env, services: &[(Binding, ServiceInstance)]) -> Result<()> {
    check_services(services)?;
    let own = env
        .iter()
        .map(|(name, value)| bytes(name, value))
        .sum::<usize>();
    let of_services = if env.get(SERVICES).is_some() {
        0
    } else {
        bytes(SERVICES, &vcap_services(services).to_string())
    };
    let whole = own + of_services;
    if whole <= MAX_WHOLE {
        return Ok(());
    }
    Err(Error::Unprocessable(format!(
        "the environment would have {whole} bytes, {of_services} of them {SERVICES}; at most {MAX_WHOLE} reach a process"
    )))
}

#[cfg(test)]
mod tests {
    use model::ids::{AppId, BindingId, ServiceInstanceId, SpaceId};
    use model::secret::Secret;
    use serde_json::json;

    use super::*;

    fn service(name: &str, bytes: usize) -> (Binding, ServiceInstance) {
        let id = ServiceInstanceId::random();
        let binding = Binding {
            id: BindingId::random(),
            app: AppId::random(),
            service_instance: id,
            name: None,
            created_us: 0,
        };
        let mut credentials = serde_json::Map::new();
        credentials.insert("token".into(), json!("s".repeat(bytes)));
        let instance = ServiceInstance {
            id,
            space: SpaceId::random(),
            name: name.into(),
            credentials: Secret::new(credentials),
            tags: vec![],
            syslog_drain_url: None,
            route_service_url: None,
            metadata: store::records::Metadata::default(),
            created_us: 0,
            updated_us: 0,
        };
        (binding, instance)
    }

    #[test]
    fn a_variable_may_be_as_long_as_linux_carries_and_no_longer() {
        let fits = MAX_VARIABLE - "NAME".len() - 2;
        assert!(check_variable("NAME", &"x".repeat(fits)).is_ok());
        let error = check_variable("NAME", &"x".repeat(fits + 1)).expect_err("too long");
        assert!(error.to_string().contains("131073 bytes"), "{error}");
    }

    #[test]
    fn services_that_do_not_fit_are_refused_with_their_sizes_and_no_value() {
        let services = [
            service("small", 10),
            service("a", 60_000),
            service("b", 65_000),
        ];
        assert!(check_services(&services).is_ok());
        let services = [services.as_slice(), &[service("c", 62_000)]].concat();
        let text = check_services(&services).expect_err("too long").to_string();
        assert!(text.contains("'b' 65") && text.contains("'c' 62"), "{text}");
        assert!(
            text.contains("at most 131072") && !text.contains("ssss"),
            "{text}"
        );
    }

    #[test]
    fn all_variables_together_have_a_limit_too() {
        let mut env = Env::new();
        for index in 0..9 {
            env.set(format!("V{index}"), "x".repeat(120_000));
        }
        let text = check_whole(&env, &[]).expect_err("too many").to_string();
        assert!(
            text.contains("1080") && text.contains("at most 1048576"),
            "{text}"
        );
    }
}
