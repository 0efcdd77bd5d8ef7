//! The same container by runc, its network by `ip`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{Bed, Fallible, bundle, first_byte, run, seconds};

#[derive(Debug)]
pub(crate) struct Runc<'a> {
    bed: &'a Bed,
    model: &'a str,
    /// Names of cgroups, network namespaces and links begin so.
    name: String,
}

impl<'a> Runc<'a> {
    pub(crate) fn after(bed: &'a Bed, model: &'a str) -> Fallible<Self> {
        run(Command::new("runc").arg("--version"))?;
        Ok(Self {
            bed,
            model,
            name: format!("swb{}", std::process::id()),
        })
    }

    /// Seconds from the first call to the app's first byte. Writing the bundle does not count.
    pub(crate) fn start(&self, round: usize) -> Fallible<f64> {
        let id = format!("{}-{round}", self.name);
        let dir = self.bed.folder.join("runc").join(&id);
        let cgroup = format!("{}-runc/{round}", self.bed.cgroup);
        bundle::write(self.bed, self.model, &dir, &cgroup, &id)?;
        let byte = first_byte(&self.bed.pipe_folder());
        let begun = Instant::now();
        self.link(&id, round)?;
        let mut start = self.runc();
        start
            .args(["run", "--detach", "--bundle"])
            .arg(&dir)
            .arg(&id);
        let status = start.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("runc could not start {id}").into());
        }
        let took = seconds(begun, &byte)?;
        run(self.runc().args(["delete", "--force"]).arg(&id))?;
        run(Command::new("ip").args(["netns", "delete", &id]))?;
        Ok(took)
    }

    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.bed.folder.join("runc-state"));
        runc
    }

    /// A point-to-point link into a new network namespace, as our engine makes it, in two batches.
    fn link(&self, netns: &str, round: usize) -> Fallible<()> {
        let link = format!("swb{round}");
        let address = format!("10.203.96.{}", round + 2);
        batch(
            &[],
            &format!(
                "netns add {netns}\nlink add {link} type veth peer name eth0 netns {netns}\n\
                 address add 10.203.96.1/32 dev {link}\nlink set {link} up\nroute add {address}/32 dev {link} scope link\n"
            ),
        )?;
        batch(
            &["-n", netns],
            &format!(
                "link set lo up\naddress add {address}/32 dev eth0\nlink set eth0 up\n\
                 route add 10.203.96.1/32 dev eth0 scope link\nroute add default via 10.203.96.1\n"
            ),
        )
    }

    pub(crate) fn clean_up(&self) -> Fallible<()> {
        // runc removes what it made itself, but not the cgroup above.
        let find = format!(
            "find /sys/fs/cgroup -depth -type d -path '*/{}-runc*' -exec rmdir {{}} +",
            self.bed.cgroup
        );
        run(Command::new("sh").arg("-c").arg(find)).map(drop)
    }
}

fn batch(options: &[&str], commands: &str) -> Fallible<()> {
    let mut ip = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = ip.stdin.take().ok_or("ip has no input")?;
    stdin.write_all(commands.as_bytes())?;
    drop(stdin);
    if ip.wait()?.success() {
        Ok(())
    } else {
        Err(format!("ip refused: {commands}").into())
    }
}
