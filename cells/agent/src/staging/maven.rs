//! Maven settings for builds: the host's mirrors and proxies, and nothing that is secret.
//!
//! Only elements of a fixed list are taken over, so that a password cannot slip through under a name nobody thought of.

use std::fs;
use std::path::PathBuf;

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_ITEMS: usize = 100;

/// A list of settings that builds may see, and the fields of its items.
struct Section {
    list: &'static str,
    item: &'static str,
    fields: &'static [&'static str],
}

const SECTIONS: [Section; 2] = [
    Section {
        list: "mirrors",
        item: "mirror",
        fields: &[
            "id",
            "name",
            "url",
            "mirrorOf",
            "layout",
            "mirrorOfLayouts",
            "blocked",
        ],
    },
    Section {
        list: "proxies",
        item: "proxy",
        fields: &["id", "active", "protocol", "host", "port", "nonProxyHosts"],
    },
];

/// The fields of one mirror or proxy, in the file's order.
type Item = Vec<(&'static str, String)>;

/// Settings with the mirrors and proxies of the first user's file and of the first of the host's. None where there are none.
pub(super) fn sanitised(files: &[PathBuf]) -> Option<String> {
    let mut lists: [Vec<Item>; 2] = Default::default();
    for file in files {
        let small = fs::metadata(file).is_ok_and(|found| found.len() <= MAX_FILE_BYTES);
        let Some(text) = small.then(|| fs::read_to_string(file).ok()).flatten() else {
            continue;
        };
        match read(&text) {
            Ok(found) => merge(&mut lists, found),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "Maven settings are not readable and were left out")
            }
        }
    }
    if lists.iter().all(Vec::is_empty) {
        return None;
    }
    // These settings take the place of Maven's own, which have this mirror since 3.8.1.
    let blocker = [
        ("id", "maven-default-http-blocker"),
        ("url", "http://0.0.0.0/"),
        ("mirrorOf", "external:http:*"),
        ("blocked", "true"),
    ];
    let blocker = blocker.map(|(name, value)| (name, value.to_owned()));
    merge(&mut lists, [vec![blocker.to_vec()], Vec::new()]);
    Some(write(&lists))
}

/// Adds what an earlier file has not said: an item is named by its id.
fn merge(lists: &mut [Vec<Item>; 2], found: [Vec<Item>; 2]) {
    let id = |item: &Item| {
        item.iter()
            .find(|(name, _)| *name == "id")
            .map(|(_, value)| value.clone())
    };
    for (list, items) in lists.iter_mut().zip(found) {
        for item in items {
            if list.len() < MAX_ITEMS && !list.iter().any(|known| id(known) == id(&item)) {
                list.push(item);
            }
        }
    }
}

fn read(text: &str) -> Result<[Vec<Item>; 2], quick_xml::Error> {
    let mut reader = Reader::from_str(text);
    let mut lists: [Vec<Item>; 2] = Default::default();
    let mut path: Vec<String> = Vec::new();
    let mut value = String::new();
    loop {
        match reader.read_event()? {
            Event::Eof => return Ok(lists),
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                value.clear();
                if let Some(section) = item_at(&path) {
                    lists[section].push(Item::new());
                }
            }
            Event::Text(text) => value.push_str(&text.xml10_content()),
            Event::CData(text) => value.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => value.push_str(&resolve(&reference)),
            Event::End(_) => {
                if let Some((section, field)) = field_at(&path)
                    && let Some(item) = lists[section].last_mut()
                {
                    item.push((field, clean(field, value.trim())));
                }
                path.pop();
                value.clear();
            }
            _ => {}
        }
    }
}

fn item_at(path: &[String]) -> Option<usize> {
    let [root, list, item] = path else {
        return None;
    };
    SECTIONS
        .iter()
        .position(|section| root == "settings" && list == section.list && item == section.item)
}

fn field_at(path: &[String]) -> Option<(usize, &'static str)> {
    let (field, item) = path.split_last()?;
    let section = item_at(item)?;
    let known = SECTIONS[section]
        .fields
        .iter()
        .find(|known| *known == field)?;
    Some((section, known))
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> String {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return character.to_string();
    }
    quick_xml::escape::resolve_predefined_entity(&reference.xml10_content())
        .unwrap_or_default()
        .to_owned()
}

fn clean(field: &str, value: &str) -> String {
    if field == "url" {
        without_credentials(value)
    } else {
        value.to_owned()
    }
}

/// A URL without user, password, query and fragment; each of them can hold a secret.
pub(super) fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{path}")
}

fn write(lists: &[Vec<Item>; 2]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<settings>\n");
    for (section, items) in SECTIONS
        .iter()
        .zip(lists)
        .filter(|(_, items)| !items.is_empty())
    {
        text.push_str(&format!("  <{}>\n", section.list));
        for item in items {
            let fields: String = item
                .iter()
                .map(|(name, value)| format!("<{name}>{}</{name}>", escape(value)))
                .collect();
            text.push_str(&format!("    <{0}>{fields}</{0}>\n", section.item));
        }
        text.push_str(&format!("  </{}>\n", section.list));
    }
    text.push_str("</settings>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_proxies_stay_and_secrets_go() {
        let folder = tempfile::tempdir().unwrap();
        let user = folder.path().join("user.xml");
        let system = folder.path().join("system.xml");
        fs::write(
            &user,
            r#"<?xml version="1.0"?>
<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">
  <localRepository>/secret/place</localRepository>
  <servers><server><id>corp</id><username>joe</username><password>hunter2</password></server></servers>
  <mirrors>
    <!-- <mirror><id>commented</id></mirror> -->
    <mirror>
      <id>corp</id> <url>https://joe:hunter2@repo.example/maven2/?token=hunter2</url>
      <mirrorOf>*,!a&amp;b&#33;</mirrorOf>
      <configuration><password>hunter2</password></configuration>
    </mirror>
  </mirrors>
  <proxies><proxy><id>p</id><host>proxy.example</host><port>3128</port><username>joe</username>
    <password><![CDATA[hunter2]]></password><nonProxyHosts><![CDATA[*.a|b]]></nonProxyHosts></proxy></proxies>
  <profiles><profile><mirrors><mirror><id>nested</id></mirror></mirrors></profile></profiles>
</settings>"#,
        )
        .unwrap();
        let blocker = "<settings><mirrors><mirror><id>blocker</id><url>http://0.0.0.0/</url><blocked>true</blocked></mirror>\
            <mirror><id>corp</id><url>http://older.example/</url></mirror></mirrors></settings>";
        fs::write(&system, blocker).unwrap();
        let missing = folder.path().join("missing.xml");
        let text = sanitised(&[user, missing, system]).unwrap();
        assert_eq!(
            text,
            r#"<?xml version="1.0" encoding="UTF-8"?>
<settings>
  <mirrors>
    <mirror><id>corp</id><url>https://repo.example/maven2/</url><mirrorOf>*,!a&amp;b!</mirrorOf></mirror>
    <mirror><id>blocker</id><url>http://0.0.0.0/</url><blocked>true</blocked></mirror>
    <mirror><id>maven-default-http-blocker</id><url>http://0.0.0.0/</url><mirrorOf>external:http:*</mirrorOf><blocked>true</blocked></mirror>
  </mirrors>
  <proxies>
    <proxy><id>p</id><host>proxy.example</host><port>3128</port><nonProxyHosts>*.a|b</nonProxyHosts></proxy>
  </proxies>
</settings>
"#
        );
    }

    #[test]
    fn nothing_to_say_gives_no_settings() {
        assert_eq!(sanitised(&[]), None);
    }

    #[test]
    fn credentials_leave_every_form_of_a_url() {
        for (url, clean) in [
            ("http://u:p@proxy:3128", "http://proxy:3128"),
            ("u:p@proxy:3128", "proxy:3128"),
            ("http://u:p%40x@proxy:3128/a?b=c#d", "http://proxy:3128/a"),
            ("http://u@v@proxy/", "http://proxy/"),
            ("http://proxy/a@b", "http://proxy/a@b"),
            ("localhost,.example.com", "localhost,.example.com"),
        ] {
            assert_eq!(without_credentials(url), clean);
        }
    }
}
