//! Getting forwarded packets past other people's filters.
//!
//! A Docker daemon sets the policy of `ip filter FORWARD` to drop, which no table of ours can overrule. So two rules go to
//! the top of that chain, in the plain form that `iptables` understands; what our own table forbids stays forbidden.

use std::collections::HashSet;
use std::time::Duration;

use nlink::netlink::nftables::{
    Expr, Family, NFT_MSG_NEWRULE, NFTA_RULE_CHAIN, NFTA_RULE_TABLE, NFTA_RULE_USERDATA,
    RawMessage, Rule, RuleInfo, write_expressions,
};
use nlink::netlink::{Connection, MessageBuilder, NLMSG_HDRLEN, Nftables};
use tokio::process::Command;

use super::{Names, netlink};
use crate::EngineError;

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
const LEGACY_TABLES: &str = "/proc/net/ip_tables_names";

/// Puts our rules into the chain if it exists and lacks them.
pub(super) async fn allow(names: &Names) -> Result<(), EngineError> {
    let failed = || netlink("let containers' packets pass the host's FORWARD chain");
    let kernel = Connection::<Nftables>::new().map_err(failed())?;
    let chains = listed!("list the packet filter's chains", kernel.list_chains())?;
    let exists = chains.iter().any(|chain| {
        chain.table == TABLE
            && chain.family == Family::Ip
            && chain.name == CHAIN
            && chain.hook.is_some()
    });
    if exists {
        let rules = rules(&kernel).await?;
        let present: HashSet<&str> = rules
            .iter()
            .filter_map(|rule| rule.comment_text.as_deref())
            .collect();
        for (mark, rule) in our_rules(names) {
            if !present.contains(mark.as_str()) {
                let message = at_the_top(&rule, &mark).map_err(failed())?;
                kernel
                    .transaction()
                    .raw(message)
                    .commit(&kernel)
                    .await
                    .map_err(failed())?;
            }
        }
    }
    if legacy_filter_is_used() {
        legacy(names, "-C", "-I").await?;
    }
    Ok(())
}

/// Takes our rules out again.
pub(super) async fn forget(names: &Names) -> Result<(), EngineError> {
    let failed = || netlink("remove our rules from the host's FORWARD chain");
    let kernel = Connection::<Nftables>::new().map_err(failed())?;
    let marks: HashSet<String> = our_rules(names).into_iter().map(|(mark, _)| mark).collect();
    let tables = listed!(
        "list the packet filter's tables",
        kernel.list_tables_in(Family::Ip)
    )?;
    let exists = tables.iter().any(|table| table.name == TABLE);
    let rules = if exists {
        rules(&kernel).await?
    } else {
        Vec::new()
    };
    for rule in rules {
        if rule
            .comment_text
            .as_ref()
            .is_some_and(|comment| marks.contains(comment))
        {
            kernel
                .del_rule_if_exists(TABLE, &rule.chain, Family::Ip, rule.handle)
                .await
                .map_err(failed())?;
        }
    }
    if legacy_filter_is_used() {
        legacy(names, "-C", "-D").await?;
    }
    Ok(())
}

async fn rules(kernel: &Connection<Nftables>) -> Result<Vec<RuleInfo>, EngineError> {
    listed!(
        "list the rules of the host's filter table",
        kernel.list_rules(TABLE, Family::Ip)
    )
}

/// The rules with the comments by which they are known again.
///
/// No connection tracking here: `iptables` calls a table "incompatible" that holds an expression it does not know.
fn our_rules(names: &Names) -> [(String, Rule); 2] {
    let rule = || Rule::new(TABLE, CHAIN).family(Family::Ip);
    let (mark, prefix) = (&names.table, &names.link_prefix);
    [
        (
            format!("{mark} out"),
            rule().match_iif_prefix(prefix).counter().accept(),
        ),
        (
            format!("{mark} in"),
            rule().match_oif_prefix(prefix).counter().accept(),
        ),
    ]
}

/// A message that inserts the rule before all others; `nlink` itself only appends.
fn at_the_top(rule: &Rule, comment: &str) -> nlink::Result<RawMessage> {
    const CREATE: u16 = libc::NLM_F_CREATE as u16;
    /// `NFTNL_UDATA_RULE_COMMENT`: type 0, a length, the text with its NUL.
    const COMMENT: u8 = 0;
    let expressions: Vec<Expr> = rule.spec().lower(Family::Ip)?;
    let mut builder = MessageBuilder::new(0, 0);
    builder.append_attr_str(NFTA_RULE_TABLE, TABLE);
    builder.append_attr_str(NFTA_RULE_CHAIN, CHAIN);
    write_expressions(&mut builder, &expressions);
    let length = u8::try_from(comment.len() + 1).expect("our comments are short");
    let mut data = vec![COMMENT, length];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    builder.append_attr(NFTA_RULE_USERDATA, &data);
    let attrs = builder.as_bytes()[NLMSG_HDRLEN..].to_vec();
    Ok(RawMessage::new(NFT_MSG_NEWRULE, Family::Ip)
        .flags(CREATE)
        .attrs(attrs))
}

/// Whether rules were made with the old kernel interface, which only its own tool can change.
fn legacy_filter_is_used() -> bool {
    std::fs::read_to_string(LEGACY_TABLES)
        .is_ok_and(|tables| tables.lines().any(|table| table == TABLE))
}

async fn legacy(names: &Names, check: &str, change: &str) -> Result<(), EngineError> {
    let links = format!("{}+", names.link_prefix);
    for direction in ["-i", "-o"] {
        let rule = [CHAIN, direction, &links, "-j", "ACCEPT"];
        let present = iptables(check, &rule).await?;
        let removing = change == "-D";
        if present == removing && !iptables(change, &rule).await? {
            tracing::warn!(
                "iptables refused to change {CHAIN} for {links}; containers may have no way out"
            );
        }
    }
    Ok(())
}

/// Whether the tool, where there is one, succeeded.
async fn iptables(verb: &str, rule: &[&str]) -> Result<bool, EngineError> {
    const TIMEOUT: Duration = Duration::from_secs(10);
    for program in ["iptables-legacy", "iptables"] {
        let mut command = Command::new(program);
        command
            .args(["-w", "5", "-t", TABLE, verb])
            .args(rule)
            .kill_on_drop(true);
        match tokio::time::timeout(TIMEOUT, command.output()).await {
            Ok(Ok(output)) => return Ok(output.status.success()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(Err(error)) => return Err(EngineError::io(format!("run {program}"))(error)),
            Err(_) => return Err(EngineError::Setup(format!("{program} did not finish"))),
        }
    }
    Ok(false)
}
