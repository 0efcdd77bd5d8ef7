//! Builds Java sources with this machine's real tools, and starts what comes out at another place.
//!
//! Maven's repository and the Java runtime are kept below the target folder, so that only a first run downloads.

use crate::support::{Site, digest_of, kinds};
use model::droplet::LayerKind;
use model::task::StagingFailure;

const PROPERTIES: &str = "<properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target></properties>";

fn pom(body: &str) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>demo</groupId><artifactId>app</artifactId><version>1.0</version>{body}</project>"
    )
}

const MAIN: &str = "package demo;
public class Main {
    public static void main(String[] args) {
        System.out.println(\"caf\u{e9} \" + System.getenv(\"MONGODB_URI\") + \" max \" + Runtime.getRuntime().maxMemory() / 1048576);
        System.out.println(\"number \" + java.text.NumberFormat.getInstance(java.util.Locale.GERMANY).format(1234.5));
        System.out.println(\"shared \" + java.lang.management.ManagementFactory.getRuntimeMXBean().getVmName());
    }
}
";

#[test]
fn a_pom_and_one_class_run_and_the_same_source_gives_the_same_app_layer() {
    let files = [
        ("pom.xml", pom("")),
        ("src/main/java/demo/Main.java", MAIN.into()),
        ("Procfile.txt", String::new()),
    ];
    let first = Site::new();
    let image = first.build(&files).image();
    assert_eq!(
        kinds(&image),
        [LayerKind::Runtime, LayerKind::Runtime, LayerKind::App]
    );
    assert_eq!(image.buildpacks[0].detected, "Maven project, Java 17");
    assert_eq!(
        image.process_types["web"],
        "exec \"$DEPS_DIR/java/bin/start-java\" -cp \"$HOME/target/app-1.0.jar\" demo.Main"
    );

    let said = first.launch(
        &image,
        &image.process_types["web"],
        &[
            ("MONGODB_URI", "mongodb://a:b@c/\u{e9}?x=$HOME&y='\"\n"),
            ("MEMORY_LIMIT", "256m"),
            ("LANG", "en_US.UTF-8"),
            ("JAVA_OPTS", "-Xshare:on"),
        ],
    );
    assert!(
        said.contains("caf\u{e9} mongodb://a:b@c/\u{e9}?x=$HOME&y='\"\n max 1"),
        "{said}"
    );
    assert!(said.contains("number 1.234,5\n"), "{said}");

    let second = Site::new();
    let again = second.build(&files).image();
    assert_eq!(again, image, "the same source must give the same image");
    assert!(
        second.log().contains("Java runtime") && second.log().contains("unchanged"),
        "{}",
        second.log()
    );
}

#[test]
fn runtime_dependencies_are_a_layer_and_on_the_class_path() {
    let dependency = "<dependencies><dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.16</version></dependency></dependencies>";
    let main = "package demo; public class Main { public static void main(String[] a) { org.slf4j.LoggerFactory.getLogger(\"x\").info(\"logged {}\", 1); } }";
    let other = "package demo; class Helper { public static void main(String a) {} }";
    let files = [
        ("pom.xml", pom(&format!("{PROPERTIES}{dependency}"))),
        ("src/main/java/demo/Main.java", main.into()),
        ("src/main/java/demo/Helper.java", other.into()),
    ];
    let site = Site::new();
    let image = site.build(&files).image();
    assert_eq!(
        kinds(&image),
        [
            LayerKind::Runtime,
            LayerKind::Runtime,
            LayerKind::Dependencies,
            LayerKind::App
        ]
    );
    let said = site.launch(
        &image,
        &image.process_types["web"],
        &[(
            "JAVA_OPTS",
            "-Dorg.slf4j.simpleLogger.showThreadName='false'",
        )],
    );
    assert!(said.contains("INFO x - logged 1"), "{said}");

    // One line changed: only the app layer is another.
    let changed = Site::new();
    let files = [
        files[0].clone(),
        (
            "src/main/java/demo/Main.java",
            main.replace("logged", "changed"),
        ),
        files[2].clone(),
    ];
    let new = changed.build(&files).image();
    assert_eq!(new.layers[..3], image.layers[..3]);
    assert_ne!(
        digest_of(&new, LayerKind::App),
        digest_of(&image, LayerKind::App)
    );
}

#[test]
fn dependencies_that_the_pom_copies_stay_where_it_puts_them() {
    let body = format!(
        "{PROPERTIES}<dependencies><dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.16</version></dependency></dependencies>\
         <build><plugins><plugin><groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.6.1</version><executions>\
         <execution><phase>package</phase><goals><goal>copy-dependencies</goal></goals></execution></executions></plugin></plugins></build>"
    );
    let main = "package demo; public class Main { public static void main(String[] a) { org.slf4j.LoggerFactory.getLogger(\"x\").info(\"logged {}\", 1); } }";
    let site = Site::new();
    let image = site
        .build(&[
            ("pom.xml", pom(&body)),
            ("src/main/java/demo/Main.java", main.into()),
            (
                "Procfile",
                "web: java -cp 'target/classes:target/dependency/*' demo.Main\n".into(),
            ),
        ])
        .image();
    for command in [
        &image.process_types["web"],
        "java -cp \"target/classes:$DEPS_DIR/java/lib/*\" demo.Main",
    ] {
        let said = site.launch(&image, command, &[]);
        assert!(said.contains("INFO x - logged 1"), "{command}: {said}");
    }
}

#[test]
fn a_shaded_jar_runs_by_itself_and_is_the_same_each_time() {
    let shade = format!(
        "{PROPERTIES}<dependencies><dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>2.0.16</version></dependency></dependencies>\
         <build><plugins><plugin><groupId>org.apache.maven.plugins</groupId><artifactId>maven-shade-plugin</artifactId><version>3.6.0</version><executions>\
         <execution><phase>package</phase><goals><goal>shade</goal></goals><configuration><transformers>\
         <transformer implementation=\"org.apache.maven.plugins.shade.resource.ManifestResourceTransformer\"><mainClass>demo.Main</mainClass></transformer>\
         </transformers></configuration></execution></executions></plugin></plugins></build>"
    );
    let main = "package demo; public class Main { public static void main(String[] a) { org.slf4j.LoggerFactory.getLogger(\"x\").info(\"shaded\"); } }";
    let files = [
        ("pom.xml", pom(&shade)),
        ("src/main/java/demo/Main.java", main.into()),
    ];
    let site = Site::new();
    let image = site.build(&files).image();
    assert_eq!(
        kinds(&image),
        [LayerKind::Runtime, LayerKind::Runtime, LayerKind::App]
    );
    assert_eq!(
        image.process_types["web"],
        "exec \"$DEPS_DIR/java/bin/start-java\" -jar \"$HOME/target/app-1.0.jar\""
    );
    assert!(
        site.launch(&image, &image.process_types["web"], &[])
            .contains("shaded")
    );
    assert_eq!(Site::new().build(&files).image(), image);
}

#[test]
fn a_module_of_several_is_started_with_its_sibling_on_the_class_path() {
    let parent = "<parent><groupId>demo</groupId><artifactId>app</artifactId><version>1.0</version></parent><modelVersion>4.0.0</modelVersion>";
    let module = |name: &str, rest: &str| {
        format!("<project>{parent}<artifactId>{name}</artifactId>{rest}</project>")
    };
    let needs_core = "<dependencies><dependency><groupId>demo</groupId><artifactId>core</artifactId><version>1.0</version></dependency></dependencies>";
    let files = [
        ("pom.xml", pom(&format!("<packaging>pom</packaging>{PROPERTIES}<modules><module>core</module><module>web</module></modules>"))),
        ("core/pom.xml", module("core", "")),
        ("core/src/main/java/core/Core.java", "package core; public class Core { public static String hello() { return \"from core\"; } }".into()),
        ("web/pom.xml", module("web", needs_core)),
        ("web/src/main/java/web/App.java", "package web; public class App { public static void main(String[] a) { System.out.println(core.Core.hello()); } }".into()),
    ];
    let site = Site::new();
    let image = site.build(&files).image();
    assert!(
        site.launch(&image, &image.process_types["web"], &[])
            .contains("from core")
    );
    assert_eq!(
        Site::new().build(&files).image(),
        image,
        "the sibling's jar must not carry the time of its build"
    );
}

#[test]
fn a_compile_error_is_quoted_with_the_command_and_its_status() {
    let files = [
        ("pom.xml", pom(PROPERTIES)),
        (
            "src/main/java/demo/Main.java",
            "package demo; class Main { int x = \"text\"; }".into(),
        ),
    ];
    let site = Site::new();
    let failure = site.build(&files).failure();
    let StagingFailure::BuildFailed {
        buildpack,
        command,
        status,
        ran_ms,
        last_lines,
    } = failure
    else {
        panic!("{failure:?}")
    };
    assert_eq!(
        (buildpack.as_str(), command.as_str(), status),
        ("java", "mvn -DskipTests package", 1)
    );
    assert!(
        ran_ms > 0 && (5..=20).contains(&last_lines.len()),
        "{last_lines:?}"
    );
    assert!(
        last_lines
            .iter()
            .any(|line| line.contains("Main.java:[1,") && line.contains("incompatible types")),
        "{last_lines:?}"
    );
    assert!(!last_lines.iter().any(|line| line.contains('\u{1b}')));
    assert!(
        site.log()
            .contains("**ERROR** 'mvn -DskipTests package' ended with status 1"),
        "{}",
        site.log()
    );
}

#[test]
fn several_main_classes_are_refused_by_name_until_one_is_chosen() {
    let main = |name: &str| {
        format!(
            "package demo; public class {name} {{ public static void main(String[] a) {{ System.out.println(\"I am {name}\"); }} }}"
        )
    };
    let files = [
        ("pom.xml", pom(PROPERTIES)),
        ("src/main/java/demo/One.java", main("One")),
        ("src/main/java/demo/Two.java", main("Two")),
        (
            "src/main/java/demo/None.java",
            "package demo; interface None {}".into(),
        ),
    ];
    let failure = Site::new().build(&files).failure();
    let StagingFailure::Refused { message, hint, .. } = failure else {
        panic!("{failure:?}")
    };
    assert_eq!(
        message,
        "several classes have a main method: demo.One, demo.Two"
    );
    assert!(hint.expect("a way out").contains("BP_JAVA_MAIN_CLASS"));

    let site = Site::new();
    let image = site
        .build_with(&files, &[("BP_JAVA_MAIN_CLASS", "demo.Two")])
        .image();
    assert!(
        site.launch(&image, &image.process_types["web"], &[])
            .contains("I am Two")
    );

    // A Procfile's command finds `java` on its path and the build's files where Maven put them.
    let site = Site::new();
    let procfile = ("Procfile", "web: java $JAVA_OPTS -cp target/classes demo.One\nworker: java -cp target/app-*.jar demo.Two\n".to_owned());
    let image = site.build(&[&files[..], &[procfile]].concat()).image();
    assert!(
        site.launch(
            &image,
            &image.process_types["web"],
            &[("JAVA_OPTS", "-Dx=y -Xint")]
        )
        .contains("I am One")
    );
    assert!(
        site.launch(&image, &image.process_types["worker"], &[])
            .contains("I am Two")
    );
    assert_eq!(
        image
            .buildpacks
            .iter()
            .map(|used| used.name.as_str())
            .collect::<Vec<_>>(),
        ["java", "procfile"]
    );
}

#[test]
fn plain_source_files_are_compiled_and_run() {
    let files = [
        ("Main.java", "public class Main { public static void main(String[] a) { System.out.println(\"plain \" + lib.Lib.X); } }".to_owned()),
        ("src/main/java/com/example/one/two/three/four/lib/Lib.java", "package lib; public class Lib { public static final String X = \"\u{fc}\"; }".into()),
    ];
    let site = Site::new();
    let image = site.build(&files).image();
    assert!(
        site.launch(&image, &image.process_types["web"], &[])
            .contains("plain \u{fc}")
    );
    assert_eq!(image.buildpacks[0].detected, "Java source files, Java 17");
}

#[test]
fn a_ready_jar_and_its_unpacked_content_run_as_they_are() {
    let files = [("Main.java", "public class Main { public static void main(String[] a) { System.out.println(\"ready\"); } }".to_owned())];
    let jar = crate::support::jar(&files[0].1);
    let site = Site::new();
    let image = site
        .build_bytes(&[("app v1.jar", jar.clone())], &[])
        .image();
    assert_eq!(
        image.process_types["web"],
        "exec \"$DEPS_DIR/java/bin/start-java\" -jar \"$HOME/app v1.jar\""
    );
    assert!(
        site.launch(&image, &image.process_types["web"], &[])
            .contains("ready")
    );

    let unpacked = Site::new();
    let image = unpacked.build_package(&jar, &[]).image();
    assert!(
        unpacked
            .launch(&image, &image.process_types["web"], &[])
            .contains("ready")
    );

    let failure = Site::new()
        .build_bytes(&[("a.jar", jar.clone()), ("b.jar", jar)], &[])
        .failure();
    assert!(
        matches!(&failure, StagingFailure::Refused { message, .. } if message.contains("a.jar, b.jar")),
        "{failure:?}"
    );
    let failure = Site::new()
        .build_bytes(&[("a.jar", b"no zip".to_vec())], &[])
        .failure();
    assert!(
        matches!(&failure, StagingFailure::Refused { message, .. } if message.contains("cannot be read")),
        "{failure:?}"
    );
}

#[test]
fn another_java_version_is_used_where_it_is_asked_for_and_its_class_data_is_shared() {
    let files = [
        ("system.properties", "java.runtime.version=25\n".to_owned()),
        (
            "Main.java",
            "void main() { IO.println(\"Java \" + Runtime.version().feature()); }".to_owned(),
        ),
    ];
    let site = Site::with_cache_of("java-25");
    let image = site.build(&files).image();
    let said = site.launch(
        &image,
        &image.process_types["web"],
        &[("JAVA_OPTS", "-Xshare:on -Xlog:cds")],
    );
    assert!(said.contains("Java 25"), "{said}");
    let log = site.log();
    assert!(!log.contains("no class-data archive"), "{log}");

    let refused = Site::new()
        .build_with(&files[1..], &[("BP_JVM_VERSION", "99")])
        .failure();
    assert!(
        matches!(&refused, StagingFailure::Refused { hint: Some(hint), .. } if hint.contains("openjdk-99-jdk-headless")),
        "{refused:?}"
    );
}

#[test]
fn the_runtime_is_one_layer_for_all_apps() {
    let main = |text: &str| {
        let body = format!("System.out.println(\"{text}\");");
        vec![(
            "Main.java",
            format!("class Main {{ public static void main(String[] a) {{ {body} }} }}"),
        )]
    };
    let site = Site::with_empty_cache();
    let one = site.build(&main("one")).image();
    site.forget_layers();
    let two = site.build(&main("two")).image();
    assert_eq!(
        digest_of(&one, LayerKind::Runtime),
        digest_of(&two, LayerKind::Runtime)
    );
    assert_ne!(
        digest_of(&one, LayerKind::App),
        digest_of(&two, LayerKind::App)
    );
}

#[test]
fn maven_reads_the_hosts_settings_and_the_projects_and_a_wrapper_that_fails_gives_way() {
    let main =
        "class Main { public static void main(String[] a) { System.out.println(\"built\"); } }";
    let files = [
        ("pom.xml", pom("")),
        ("src/main/java/Main.java", main.to_owned()),
    ];
    let failure = Site::with_maven_settings("<settings><mirrors>")
        .build(&files)
        .failure();
    let StagingFailure::BuildFailed { last_lines, .. } = failure else {
        panic!("{failure:?}")
    };
    assert!(
        last_lines
            .iter()
            .any(|line| line.contains("settings file.xml")),
        "{last_lines:?}"
    );

    let site = Site::with_maven_settings("<settings/>");
    let named = "<settings><profiles><profile><id>own</id><properties><named>by-the-projects-settings</named></properties></profile>\
        </profiles><activeProfiles><activeProfile>own</activeProfile></activeProfiles></settings>";
    let own = [
        (
            "pom.xml",
            pom("<build><finalName>${named}</finalName></build>"),
        ),
        files[1].clone(),
        (".mvn/maven.config", "-s\n.mvn/settings.xml\n".into()),
        (".mvn/settings.xml", named.into()),
    ];
    let web = &site.build(&own).image().process_types["web"];
    assert!(web.contains("by-the-projects-settings.jar"), "{web}");

    let wrapper = ("mvnw", "echo no distribution here; exit 1".to_owned());
    let site = Site::with_maven_settings("<settings/>");
    let image = site.build(&[&files[..], &[wrapper]].concat()).image();
    assert!(
        site.launch(&image, &image.process_types["web"], &[])
            .contains("built")
    );
    let log = site.log();
    assert!(
        log.contains("no distribution here") && log.contains("the stack's own mvn is used"),
        "{log}"
    );
}

#[test]
fn a_jdk_without_jlink_gives_its_own_runtime() {
    use std::os::unix::fs::symlink;
    let java = std::fs::canonicalize("/usr/bin/java").expect("the tests' machine has a JDK");
    let jdk = java.ancestors().nth(2).expect("HOME/bin/java");
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = folder.path().join("jdk");
    std::fs::create_dir_all(home.join("bin")).expect("made");
    for link in ["release", "lib", "conf", "jmods", "bin/java", "bin/javac"] {
        symlink(jdk.join(link), home.join(link)).expect("linked");
    }
    let site = Site::with_empty_cache();
    let main = "class Main { public static void main(String[] a) { System.out.println(\"copied \" + System.getProperty(\"java.home\")); } }";
    let text = folder.path().to_str().expect("text");
    let image = site
        .build_with(
            &[("Main.java", main.to_owned())],
            &[("BP_JVM_FOLDER", text)],
        )
        .image();
    assert!(
        site.log().contains("its whole runtime is copied"),
        "{}",
        site.log()
    );
    let said = site.launch(&image, &image.process_types["web"], &[]);
    assert!(
        said.contains("copied ") && said.contains("/run home/deps/java/jre"),
        "{said}"
    );
}
