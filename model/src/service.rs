//! Services outside the platform, whose credentials apps are given.

/// The variable under which apps look for the address of such a service; none for schemes that have no habit.
#[must_use]
pub fn habitual_name(uri: &str) -> Option<&'static str> {
    let scheme = uri.split_once("://")?.0.to_ascii_lowercase();
    Some(match scheme.as_str() {
        "mongodb" | "mongodb+srv" => "MONGODB_URI",
        "postgres" | "postgresql" | "mysql" | "mysql2" => "DATABASE_URL",
        "redis" | "rediss" => "REDIS_URL",
        "amqp" | "amqps" => "AMQP_URL",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_name_that_apps_look_for() {
        for (credential, want) in [
            ("mongodb://h/x", Some("MONGODB_URI")),
            ("MongoDB+SRV://h/x", Some("MONGODB_URI")),
            ("postgres://h/x", Some("DATABASE_URL")),
            ("mysql2://h/x", Some("DATABASE_URL")),
            ("redis://h", Some("REDIS_URL")),
            ("amqp://h", Some("AMQP_URL")),
            ("http://h", None),
            ("secret", None),
        ] {
            assert_eq!(habitual_name(credential), want, "{credential}");
        }
    }
}
