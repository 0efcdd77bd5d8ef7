//! Reads the few things of a `pom.xml` that decide how it is built. Maven itself does the rest.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

const MAX_DEPTH: usize = 100;
const MAX_ELEMENTS: usize = 200_000;

#[derive(Debug, Default, Clone)]
pub(super) struct Pom {
    pub(super) properties: BTreeMap<String, String>,
    pub(super) modules: Vec<String>,
    pub(super) has_parent: bool,
    /// Artifact ids of the plugins that the build uses; those only managed, or of a profile, are left out.
    pub(super) plugins: Vec<String>,
    /// Whether the dependency plugin is to copy or unpack, maybe only in a profile.
    pub(super) copies_itself: bool,
    /// `mainClass` settings of plugins, interpolated.
    pub(super) main_classes: Vec<String>,
    /// The compiler's language level, from a property or the compiler plugin's configuration.
    pub(super) java_version: Option<String>,
    /// Whether a dependency may be needed at run time.
    pub(super) has_runtime_dependencies: bool,
}

/// Plugins that put everything an app needs into one jar, or beside it.
const BUNDLERS: &[&str] = &[
    "maven-shade-plugin",
    "maven-assembly-plugin",
    "spring-boot-maven-plugin",
    "quarkus-maven-plugin",
    "onejar-maven-plugin",
    "capsule-maven-plugin",
    "helidon-maven-plugin",
    "wildfly-maven-plugin",
    "wildfly-jar-maven-plugin",
    "payara-micro-maven-plugin",
    "liberty-maven-plugin",
];

/// Goals of the dependency plugin that obey the properties `outputDirectory`, `includeScope` or `mdep.prependGroupId`.
const COPYING_GOALS: &[&str] = &[
    "build-classpath",
    "copy",
    "copy-dependencies",
    "unpack",
    "unpack-dependencies",
];

/// Properties and settings that name the main class, best first.
const MAIN_CLASS_PROPERTIES: &[&str] =
    &["exec.mainClass", "mainClass", "main.class", "start-class"];
const JAVA_VERSION_PROPERTIES: &[&str] = &[
    "maven.compiler.release",
    "java.version",
    "maven.compiler.target",
    "maven.compiler.source",
];

impl Pom {
    /// # Errors
    /// What is wrong with the text, with its place.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let project = Element::parse(text)?;
        if project.name != "project" {
            return Err(format!(
                "its root element is '{}', not 'project'",
                project.name
            ));
        }
        let mut pom = Self {
            has_parent: project.child("parent").is_some(),
            ..Self::default()
        };
        for property in project
            .child("properties")
            .map(|all| all.children.as_slice())
            .unwrap_or_default()
        {
            pom.properties
                .insert(property.name.clone(), property.text.trim().to_owned());
        }
        project.visit(&mut |element| match element.name.as_str() {
            "plugin" => {
                let artifact = element
                    .child("artifactId")
                    .map(|id| id.text.trim().to_owned())
                    .unwrap_or_default();
                if artifact == "maven-compiler-plugin" && pom.java_version.is_none() {
                    let setting =
                        |name| element.find(name).map(|found| found.text.trim().to_owned());
                    pom.java_version = setting("release")
                        .or_else(|| setting("target"))
                        .or_else(|| setting("source"));
                }
                if artifact == "maven-dependency-plugin" {
                    element.visit(&mut |part| {
                        pom.copies_itself |=
                            part.name == "goal" && COPYING_GOALS.contains(&part.text.trim());
                    });
                }
                if let Some(main) = element.find("mainClass") {
                    pom.main_classes.push(main.text.trim().to_owned());
                }
            }
            "module" => pom.modules.push(element.text.trim().to_owned()),
            _ => {}
        });
        let used = project
            .child("build")
            .and_then(|build| build.child("plugins"))
            .map(|all| all.children.as_slice());
        let artifacts = used
            .unwrap_or_default()
            .iter()
            .filter_map(|plugin| plugin.child("artifactId"));
        pom.plugins = artifacts
            .map(|artifact| artifact.text.trim().to_owned())
            .collect();
        let dependencies = project
            .child("dependencies")
            .map(|all| all.children.as_slice())
            .unwrap_or_default();
        pom.has_runtime_dependencies = dependencies.iter().any(|dependency| {
            let scope = dependency
                .child("scope")
                .map_or("", |scope| scope.text.trim());
            !matches!(scope, "test" | "provided" | "import")
        });
        pom.main_classes = pom
            .main_classes
            .iter()
            .filter_map(|text| pom.interpolate(text))
            .collect();
        let stated = pom
            .java_version
            .as_deref()
            .and_then(|text| pom.interpolate(text));
        pom.java_version = stated.or_else(|| {
            JAVA_VERSION_PROPERTIES
                .iter()
                .find_map(|name| pom.property(name))
        });
        Ok(pom)
    }

    /// A property's value, with other properties filled in.
    pub(super) fn property(&self, name: &str) -> Option<String> {
        self.interpolate(self.properties.get(name)?)
    }

    pub(super) fn bundles_itself(&self) -> bool {
        self.plugins
            .iter()
            .any(|plugin| BUNDLERS.contains(&plugin.as_str()))
    }

    /// The main class that the pom names.
    pub(super) fn main_class(&self) -> Option<String> {
        let property = MAIN_CLASS_PROPERTIES
            .iter()
            .find_map(|name| self.property(name));
        property.or_else(|| self.main_classes.first().cloned())
    }

    /// `text` with `${…}` replaced; none if a value is not known here or refers to itself.
    fn interpolate(&self, text: &str) -> Option<String> {
        let mut text = text.trim().to_owned();
        for _ in 0..8 {
            let Some(start) = text.find("${") else {
                return (!text.is_empty()).then_some(text);
            };
            let end = start + text[start..].find('}')?;
            let value = self.properties.get(&text[start + 2..end])?.clone();
            if text.len() + value.len() > 4096 {
                return None;
            }
            text.replace_range(start..=end, &value);
        }
        None
    }
}

/// An element without its attributes, which poms do not use for anything that matters here.
#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = vec![Self::default()];
        let mut count = 0;
        loop {
            let place = reader.buffer_position();
            let wrong = |what: &str| {
                let before = usize::try_from(place).unwrap_or(0).min(text.len());
                let line = 1 + text.as_bytes()[..before]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                format!("line {line}: {what}")
            };
            let event = reader
                .read_event()
                .map_err(|error| wrong(&error.to_string()))?;
            let current = open
                .last_mut()
                .expect("the document itself is never closed");
            match event {
                Event::Start(start) => {
                    count += 1;
                    if open.len() > MAX_DEPTH || count > MAX_ELEMENTS {
                        return Err(wrong("too many elements"));
                    }
                    open.push(Self {
                        name: start.local_name().as_ref().to_owned(),
                        ..Self::default()
                    });
                }
                Event::Empty(empty) => {
                    count += 1;
                    if count > MAX_ELEMENTS {
                        return Err(wrong("too many elements"));
                    }
                    current.children.push(Self {
                        name: empty.local_name().as_ref().to_owned(),
                        ..Self::default()
                    });
                }
                Event::End(_) => {
                    let closed = open
                        .pop()
                        .expect("the reader refuses an end without a start");
                    open.last_mut()
                        .ok_or_else(|| wrong("an end without a start"))?
                        .children
                        .push(closed);
                }
                Event::Text(piece) => current.text.push_str(&piece),
                Event::CData(piece) => current.text.push_str(&piece),
                Event::GeneralRef(reference) => {
                    let char = match &*reference {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        // Entities that a document declares are never expanded, so none can grow.
                        _ => reference.resolve_char_ref().ok().flatten(),
                    };
                    current.text.extend(char);
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        if open.len() > 1 {
            return Err(format!(
                "the element '{}' is not closed",
                open.last().map_or("", |element| &element.name)
            ));
        }
        open.pop()
            .and_then(|mut document| document.children.pop())
            .ok_or_else(|| "it has no root element".to_owned())
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element of that name at any depth.
    fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find_map(|child| {
            if child.name == name {
                Some(child)
            } else {
                child.find(name)
            }
        })
    }

    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        for child in &self.children {
            child.visit(visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pom(body: &str) -> Pom {
        Pom::parse(&format!("<?xml version=\"1.0\"?>\n<project xmlns=\"http://maven.apache.org/POM/4.0.0\">{body}</project>"))
            .expect("parses")
    }

    #[test]
    fn the_java_version_is_found_wherever_poms_state_it() {
        let compiler = |setting: &str| {
            format!(
                "<build><plugins><plugin><artifactId>maven-compiler-plugin</artifactId><configuration>{setting}</configuration></plugin></plugins></build>"
            )
        };
        for (body, want) in [
            (
                "<properties><maven.compiler.release>17</maven.compiler.release></properties>"
                    .to_owned(),
                Some("17"),
            ),
            (
                "<properties><maven.compiler.source>1.8</maven.compiler.source></properties>"
                    .into(),
                Some("1.8"),
            ),
            (
                "<properties><v>21</v><java.version>${v}</java.version></properties>".into(),
                Some("21"),
            ),
            (
                format!(
                    "<properties><j>11</j></properties>{}",
                    compiler("<release>${j}</release>")
                ),
                Some("11"),
            ),
            (compiler("<source>8</source><target>9</target>"), Some("9")),
            (
                "<properties><java.version>${java.version}</java.version></properties>".into(),
                None,
            ),
            (String::new(), None),
        ] {
            assert_eq!(pom(&body).java_version.as_deref(), want, "{body}");
        }
    }

    #[test]
    fn bundlers_dependencies_modules_and_main_classes_are_seen() {
        let shaded = pom(
            "<artifactId>a</artifactId><!-- x --><modules><module>core</module><module>web</module></modules>\
             <properties><m>x.y</m></properties><dependencies><dependency><scope>test</scope></dependency></dependencies>\
             <build><plugins><plugin><artifactId>maven-shade-plugin</artifactId><executions><execution><configuration>\
             <transformers><transformer implementation=\"q\"><mainClass>${m}.Main&#x41;&amp;</mainClass></transformer></transformers>\
             </configuration></execution></executions></plugin></plugins></build>",
        );
        assert!(shaded.bundles_itself() && !shaded.has_runtime_dependencies && !shaded.has_parent);
        assert_eq!(shaded.modules, ["core", "web"]);
        assert_eq!(shaded.main_class().as_deref(), Some("x.y.MainA&"));
        let copies = |goal: &str| {
            let executions = format!(
                "<executions><execution><goals><goal> {goal} </goal></goals></execution></executions>"
            );
            let plugin = format!(
                "<plugin><artifactId>maven-dependency-plugin</artifactId>{executions}</plugin>"
            );
            pom(&format!(
                "<profiles><profile><build><plugins>{plugin}</plugins></build></profile></profiles>"
            ))
            .copies_itself
        };
        assert!(copies("copy-dependencies") && !copies("properties"));
        let plain = pom(
            "<parent/><dependencies><dependency><groupId>g</groupId></dependency></dependencies>",
        );
        assert!(!plain.bundles_itself() && plain.has_runtime_dependencies && plain.has_parent);
        assert_eq!(plain.main_class(), None);
        let managed = pom(
            "<build><pluginManagement><plugins><plugin><artifactId>maven-shade-plugin</artifactId></plugin></plugins></pluginManagement></build>",
        );
        assert!(!managed.bundles_itself());
        let property = pom("<properties><exec.mainClass>a.B</exec.mainClass></properties>");
        assert_eq!(property.main_class().as_deref(), Some("a.B"));
    }

    #[test]
    fn bad_documents_are_refused_with_their_place() {
        for (text, want) in [
            ("", "no root"),
            ("<project>\n<a></b>\n</project>", "line 2"),
            ("<project><a>", "not closed"),
            ("<html/>", "root element is 'html'"),
        ] {
            let error = Pom::parse(text).expect_err(text);
            assert!(error.contains(want), "{text:?}: {error}");
        }
        assert!(
            Pom::parse(&"<project>".repeat(100_000))
                .expect_err("deep")
                .contains("too many")
        );
        let bomb = "<!DOCTYPE project [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><project><properties><x>&b;</x></properties></project>";
        assert_eq!(
            Pom::parse(bomb)
                .expect("entities stay closed")
                .property("x"),
            None
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<[a-z!/?]{0,3}|>|\\PC|&[a-z#0-9]{0,3};|\\$\\{[a-c]\\}){0,60}") {
            let _ = Pom::parse(&text);
            let _ = Pom::parse(&format!("<project><properties><a>{text}</a></properties></project>"));
        }
    }
}
