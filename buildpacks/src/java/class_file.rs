//! Reads as much of a class file as it takes to see whether `java` can start it.
//!
//! Format: The Java Virtual Machine Specification, chapter 4.

/// What a class file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClassFile {
    /// With dots: `demo.Main`.
    pub(super) name: String,
    pub(super) main: Main,
}

/// How a class can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Main {
    No,
    /// `public static void main(String[])`.
    Static,
    /// A main method that only Java 25 and later start (JEP 512).
    Instance,
}

const MAGIC: u32 = 0xCAFE_BABE;
const JAVA_25: u16 = 69;
const PUBLIC: u16 = 0x0001;
const PRIVATE: u16 = 0x0002;
const STATIC: u16 = 0x0008;
/// Interfaces can hold a main method too, but modules and annotations are no classes to start.
const ANNOTATION_OR_MODULE: u16 = 0x2000 | 0x8000;

impl ClassFile {
    /// None where the bytes are not a well-formed class file.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u4()? != MAGIC {
            return None;
        }
        let (_minor, major) = (reader.u2()?, reader.u2()?);
        let constants = constant_pool(&mut reader)?;
        let access = reader.u2()?;
        let Constant::Class(name) = constants.get(usize::from(reader.u2()?))? else {
            return None;
        };
        let name = constants.get(usize::from(*name))?.text()?;
        let _super = reader.u2()?;
        let interfaces = usize::from(reader.u2()?);
        reader.take(interfaces * 2)?;
        for _ in 0..reader.u2()? {
            member(&mut reader)?;
        }
        let mut main = Main::No;
        for _ in 0..reader.u2()? {
            let (access, name, descriptor) = member(&mut reader)?;
            let text = |index: u16| constants.get(usize::from(index)).and_then(Constant::text);
            if text(name)? != "main" {
                continue;
            }
            let with_arguments = text(descriptor)? == "([Ljava/lang/String;)V";
            if with_arguments && access & (PUBLIC | STATIC) == PUBLIC | STATIC {
                main = Main::Static;
            } else if (with_arguments || text(descriptor)? == "()V")
                && access & PRIVATE == 0
                && major >= JAVA_25
                && main == Main::No
            {
                main = Main::Instance;
            }
        }
        if access & ANNOTATION_OR_MODULE != 0 {
            main = Main::No;
        }
        Some(Self {
            name: name.replace('/', "."),
            main,
        })
    }
}

enum Constant<'a> {
    Text(&'a str),
    /// The index of a class's name.
    Class(u16),
    Other,
}

impl<'a> Constant<'a> {
    const fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn constant_pool<'a>(reader: &mut Reader<'a>) -> Option<Vec<Constant<'a>>> {
    let count = reader.u2()?;
    // Index 0 is not used, and a long or a double takes two.
    let mut constants = vec![Constant::Other];
    while constants.len() < usize::from(count) {
        let constant = match reader.u1()? {
            1 => {
                let length = usize::from(reader.u2()?);
                // Names with lone surrogates or NUL are not UTF-8 here; nobody's main class has one.
                std::str::from_utf8(reader.take(length)?).map_or(Constant::Other, Constant::Text)
            }
            7 => Constant::Class(reader.u2()?),
            5 | 6 => {
                reader.take(8)?;
                constants.push(Constant::Other);
                Constant::Other
            }
            8 | 16 | 19 | 20 => {
                reader.take(2)?;
                Constant::Other
            }
            15 => {
                reader.take(3)?;
                Constant::Other
            }
            3 | 4 | 9..=12 | 17 | 18 => {
                reader.take(4)?;
                Constant::Other
            }
            _ => return None,
        };
        constants.push(constant);
    }
    Some(constants)
}

/// A field's or method's access flags, name and descriptor.
fn member(reader: &mut Reader<'_>) -> Option<(u16, u16, u16)> {
    let member = (reader.u2()?, reader.u2()?, reader.u2()?);
    for _ in 0..reader.u2()? {
        reader.u2()?;
        let length = usize::try_from(reader.u4()?).ok()?;
        reader.take(length)?;
    }
    Some(member)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u1(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u2(&mut self) -> Option<u16> {
        self.take(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u4(&mut self) -> Option<u32> {
        self.take(4)
            .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "package demo;
        public class Main { long a = 5000000000L; double b = 1.5; static int main; public static void main(String[] x) {} }
        class Other { public void main(String[] x) {} static void main() {} public static int main(int x) { return x; } }
        interface Face { static void main(String... x) { Runnable r = () -> System.out.println(x.length + \"y\"); r.run(); } }
        @interface Note { String value(); }
        enum Kind { A; public static void main(String[] x) {} }
        record Point(int x, int y) { static class Inner { public static void main(final String... z) {} } }";

    fn compiled() -> Vec<Vec<u8>> {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::write(folder.path().join("Main.java"), SOURCE).expect("written");
        let status = Command::new("javac")
            // Newer ones know mains that are no static methods too.
            .args(["--release", "17", "-d", ".", "Main.java"])
            .current_dir(folder.path())
            .status();
        assert!(status.expect("javac runs").success());
        let classes = fs::read_dir(folder.path().join("demo")).expect("compiled");
        classes
            .map(|entry| fs::read(entry.expect("listed").path()).expect("read"))
            .collect()
    }

    #[test]
    fn main_classes_are_found_in_what_javac_writes_and_damage_is_survived() {
        let classes = compiled();
        let mut found: Vec<_> = classes
            .iter()
            .map(|bytes| ClassFile::parse(bytes).expect("well-formed"))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let shown: Vec<_> = found
            .iter()
            .map(|class| (class.name.as_str(), class.main))
            .collect();
        let want = [
            ("demo.Face", Main::Static),
            ("demo.Kind", Main::Static),
            ("demo.Main", Main::Static),
            ("demo.Note", Main::No),
            ("demo.Other", Main::No),
            ("demo.Point", Main::No),
            ("demo.Point$Inner", Main::Static),
        ];
        assert_eq!(shown, want);

        proptest!(|(index in 0usize..7, cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), end: prop::sample::Index)| {
            let mut bytes = classes[index].clone();
            for (at, value) in cuts {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(end.index(bytes.len() + 1));
            let _ = ClassFile::parse(&bytes);
        });
    }

    proptest! {
        #[test]
        fn garbage_is_no_class(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut headed = vec![0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61];
            headed.extend(&bytes);
            let _ = ClassFile::parse(&headed);
            prop_assert_eq!(ClassFile::parse(&bytes[..bytes.len().min(9)]), None);
        }
    }
}
