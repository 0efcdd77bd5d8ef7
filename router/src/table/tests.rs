use model::ids::{AppId, ProcessId};
use proptest::prelude::*;

use super::*;

fn spec(index: u32) -> EndpointSpec {
    EndpointSpec {
        app: AppId::random(),
        process: ProcessId::random(),
        instance: InstanceId::random(),
        index,
        address: "127.0.0.1:1".parse().expect("address"),
    }
}

fn key(host: &str, path: &str) -> RouteKey {
    RouteKey {
        host: host.to_owned(),
        path: path.to_owned(),
    }
}

fn entry(host: &str, path: &str) -> RouteEntry {
    RouteEntry {
        key: key(host, path),
        endpoints: vec![spec(0)],
    }
}

fn table(entries: Vec<RouteEntry>) -> Table {
    Table::awaited(&[], Idlers::default()).successor(RouteTable {
        version: 1,
        control_hosts: vec!["api.test".to_owned()],
        entries,
    })
}

fn found(table: &Table, host: &str, path: &str) -> String {
    match table.find(host, path) {
        Destination::Control => "control".to_owned(),
        Destination::App(route) => format!("{}{}", route.key().host, route.key().path),
        Destination::Unknown => "unknown".to_owned(),
        Destination::NoTable => "no table".to_owned(),
    }
}

#[test]
fn the_longest_path_of_the_most_exact_host_wins() {
    let table = table(vec![
        entry("a.test", ""),
        entry("a.test", "/api"),
        entry("a.test", "/api/v2"),
        entry("only-path.test", "/x"),
        entry("*.test", ""),
        entry("*.deep.test", "/api"),
        entry("api.test", ""),
        entry("B.test", "/Case"),
    ]);
    let cases = [
        ("a.test", "/", "a.test"),
        ("a.test", "/apix", "a.test"),
        ("a.test", "/api", "a.test/api"),
        ("a.test", "/api/", "a.test/api"),
        ("a.test", "/api/v1", "a.test/api"),
        ("a.test", "/api/v2/x/y/z", "a.test/api/v2"),
        ("a.test", "/API", "a.test"),
        ("a.test", "/api/v\u{e9}-and-more", "a.test/api"),
        ("a.test", "*", "a.test"),
        ("only-path.test", "/x/1", "only-path.test/x"),
        ("only-path.test", "/y", "*.test"),
        ("b.test", "/Case/1", "B.test/Case"),
        ("b.test", "/case/1", "*.test"),
        ("c.test", "/", "*.test"),
        ("c.d.test", "/", "*.test"),
        ("c.deep.test", "/api", "*.deep.test/api"),
        ("c.deep.test", "/", "*.test"),
        ("test", "/", "unknown"),
        ("a.example", "/", "unknown"),
        ("api.test", "/", "control"),
        ("127.0.0.1", "/", "control"),
        ("[::1]", "/", "control"),
        ("127.0.0.1.test", "/", "*.test"),
    ];
    for (host, path, expected) in cases {
        assert_eq!(found(&table, host, path), expected, "{host}{path}");
    }
}

#[test]
fn before_the_first_table_only_control_hosts_are_known() {
    let table = Table::awaited(&["API.test.".to_owned()], Idlers::default());
    assert_eq!(found(&table, "api.test", "/"), "control");
    assert_eq!(found(&table, "127.0.0.1", "/"), "control");
    assert_eq!(found(&table, "a.test", "/"), "no table");
}

#[test]
fn a_delta_must_follow_and_keeps_unchanged_endpoints() {
    let shared = spec(0);
    let with = |host: &str| RouteEntry {
        key: key(host, ""),
        endpoints: vec![shared.clone()],
    };
    let mut table = table(vec![with("a.test"), with("b.test")]);
    let endpoint = |table: &Table, host: &str| match table.find(host, "/") {
        Destination::App(route) => Arc::clone(&route.endpoints()[0]),
        other => panic!("{other:?}"),
    };
    let first = endpoint(&table, "a.test");
    assert!(
        Arc::ptr_eq(&first, &endpoint(&table, "b.test")),
        "one instance is one endpoint"
    );

    assert!(table.apply(3, vec![], &[key("a.test", "")]).is_err());
    assert_eq!(
        found(&table, "a.test", "/"),
        "a.test",
        "a refused delta changes nothing"
    );

    table
        .apply(
            2,
            vec![with("c.test")],
            &[key("a.test", ""), key("never.test", "")],
        )
        .expect("the next version");
    assert_eq!(found(&table, "a.test", "/"), "unknown");
    assert!(Arc::ptr_eq(&first, &endpoint(&table, "c.test")));
    let now = table.contents().expect("known").into_message();
    assert_eq!((now.version, now.entries.len()), (2, 2));

    let moved = EndpointSpec {
        instance: InstanceId::random(),
        ..shared.clone()
    };
    let entry = RouteEntry {
        key: key("c.test", ""),
        endpoints: vec![moved],
    };
    table.apply(3, vec![entry], &[]).expect("the next version");
    let other = endpoint(&table, "c.test");
    assert!(
        !Arc::ptr_eq(&first, &other),
        "another instance at the same address shares no connections"
    );
}

#[test]
fn contents_lead_to_the_same_table() {
    let entries = vec![
        entry("*.test", "/x"),
        entry("a.test", ""),
        entry("a.test", "/x"),
    ];
    let message = RouteTable {
        version: 7,
        control_hosts: vec!["api.test".to_owned()],
        entries,
    };
    let table = Table::awaited(&[], Idlers::default());
    assert!(table.contents().is_none());
    let table = table.successor(message.clone());
    assert_eq!(table.contents().expect("known").into_message(), message);
}

#[test]
fn endpoints_take_turns_and_a_failed_one_stands_aside() {
    let endpoints: Vec<_> = (0..3).map(spec).collect();
    let table = table(vec![RouteEntry {
        key: key("a.test", ""),
        endpoints: endpoints.clone(),
    }]);
    let Destination::App(route) = table.find("a.test", "/") else {
        panic!("no route")
    };
    let pick = |tried: &[InstanceId]| {
        route
            .pick(Choice::Any, tried)
            .map(|endpoint| endpoint.spec().index)
    };
    assert_eq!(
        (0..6).map(|_| pick(&[])).collect::<Vec<_>>(),
        [0, 1, 2, 0, 1, 2].map(Some)
    );

    route.endpoints()[1].pause(std::time::Duration::from_secs(60));
    assert!((0..6).all(|_| pick(&[]) != Some(1)));
    assert_eq!(
        pick(&[endpoints[0].instance, endpoints[2].instance]),
        Some(1),
        "rather a failed one than none"
    );
    assert_eq!(
        pick(
            &endpoints
                .iter()
                .map(|endpoint| endpoint.instance)
                .collect::<Vec<_>>()
        ),
        None
    );

    let choice = Choice::AppInstance(endpoints[2].app, 2);
    assert_eq!(
        route
            .pick(choice, &[])
            .map(|endpoint| endpoint.spec().index),
        Some(2)
    );
    assert!(!route.has(Choice::AppInstance(endpoints[2].app, 1)));
    assert!(route.has(Choice::ProcessInstance(endpoints[1].process, None)));
}

/// What the look-up promises, said in the simplest way.
fn naive(keys: &[RouteKey], host: &str, path: &str) -> Option<RouteKey> {
    let is_prefix = |key: &&RouteKey| match path.strip_prefix(key.path.as_str()) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || key.path.is_empty(),
        None => false,
    };
    let labels: Vec<_> = host.split('.').collect();
    let wildcards = (1..labels.len()).map(|from| format!("*.{}", labels[from..].join(".")));
    std::iter::once(host.to_owned())
        .chain(wildcards)
        .find_map(|host| {
            let of_host = keys.iter().filter(|key| key.host == host).filter(is_prefix);
            of_host.max_by_key(|key| key.path.len()).cloned()
        })
}

fn a_host() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]", 1..4).prop_map(|labels| format!("{}.t", labels.join(".")))
}

fn a_path() -> impl Strategy<Value = String> {
    prop::collection::vec("[xy]{1,2}", 0..4)
        .prop_map(|segments| segments.iter().map(|s| format!("/{s}")).collect())
}

fn a_key() -> impl Strategy<Value = RouteKey> {
    (any::<bool>(), a_host(), a_path()).prop_map(|(wildcard, host, path)| RouteKey {
        host: if wildcard { format!("*.{host}") } else { host },
        path,
    })
}

proptest! {
    #[test]
    fn look_up_equals_a_naive_search_after_any_deltas(
        first in prop::collection::vec(a_key(), 0..20),
        later in prop::collection::vec((a_key(), any::<bool>()), 0..20),
        requests in prop::collection::vec((a_host(), a_path(), "(/|//|/x/)?"), 1..40),
    ) {
        let entry_of = |key: &RouteKey| RouteEntry { key: key.clone(), endpoints: vec![] };
        let mut keys: Vec<RouteKey> = first.clone();
        let mut table = table(first.iter().map(entry_of).collect());
        for (nth, (key, is_removed)) in later.iter().enumerate() {
            let version = 2 + nth as u64;
            keys.retain(|known| known != key);
            if *is_removed {
                table.apply(version, vec![], std::slice::from_ref(key)).expect("follows");
            } else {
                keys.push(key.clone());
                table.apply(version, vec![entry_of(key)], &[]).expect("follows");
            }
        }
        keys.sort();
        keys.dedup();
        let listed: Vec<_> = table.contents().expect("known").into_message().entries.into_iter().map(|entry| entry.key).collect();
        prop_assert_eq!(&listed, &keys);
        for (host, path, tail) in requests {
            let path = if path.is_empty() && tail.is_empty() { "/".to_owned() } else { format!("{path}{tail}") };
            let found = match table.find(&host, &path) {
                Destination::App(route) => Some(route.key().clone()),
                _ => None,
            };
            prop_assert_eq!(found, naive(&keys, &host, &path), "{}{}", host, path);
        }
    }
}
