//! Sessions with targets, over open-iscsi's `iscsiadm`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::disk::Disk;
use crate::volumes::helper::{Outcome, Programs, run};

/// The session is there already.
const SESSION_EXISTS: i32 = 15;
/// There is no such record or session.
const NOT_FOUND: i32 = 21;

/// Names of passwords in secrets, and of open-iscsi's settings, when looking for a target.
const DISCOVERY_KEYS: [&str; 4] = [
    "discovery.sendtargets.auth.username",
    "discovery.sendtargets.auth.password",
    "discovery.sendtargets.auth.username_in",
    "discovery.sendtargets.auth.password_in",
];

/// The same when logging in.
const SESSION_KEYS: [&str; 4] = [
    "node.session.auth.username",
    "node.session.auth.password",
    "node.session.auth.username_in",
    "node.session.auth.password_in",
];

/// Passwords; those of a purpose only where the volume wants them for it.
#[derive(Default)]
pub struct Passwords {
    /// For looking for the target.
    pub discovery: Option<BTreeMap<String, String>>,
    /// For logging in.
    pub session: Option<BTreeMap<String, String>>,
}

/// open-iscsi's program. Errors are messages for the user; none of them holds a password.
pub struct Iscsiadm(PathBuf);

impl Iscsiadm {
    /// The program, if the node has it.
    pub fn find(programs: &Programs) -> Result<Self, String> {
        programs.find("iscsiadm", "open-iscsi").map(Self)
    }

    async fn run(&self, args: &[&str]) -> Result<Outcome, String> {
        run(&self.0, args).await
    }

    async fn must(&self, what: &str, args: &[&str]) -> Result<String, String> {
        let outcome = self.run(args).await?;
        if outcome.success {
            return Ok(outcome.output);
        }
        Err(format!("iscsi: failed to {what}: {} ({})", outcome.output, outcome.status))
    }

    /// Makes the interface of a disk for which the node has a name of its own, after the one that the volume names; how
    /// the interface reaches the target.
    pub async fn prepare_iface(&self, disk: &Disk) -> Result<String, String> {
        let show = ["-m", "iface", "-I", &disk.init_iface, "-o", "show"];
        let shown = self.must(&format!("read iface {}", disk.init_iface), &show).await?;
        let settings = iface_settings(&shown);
        if disk.has_own_iface() {
            // It may be left from an attempt before.
            self.run(&["-m", "iface", "-I", &disk.iface, "-o", "new"]).await?;
            let own = ("iface.initiatorname", disk.initiator_name.as_str());
            let copied = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            for (name, value) in copied.filter(|(name, _)| *name != own.0).chain([own]) {
                let update = ["-m", "iface", "-I", &disk.iface, "-o", "update", "-n", name, "-v", value];
                self.must(&format!("update iface {}", disk.iface), &update).await?;
            }
        }
        Ok(settings.get("iface.transport_name").cloned().unwrap_or_else(|| "tcp".to_owned()))
    }

    /// Looks for the target at a portal and logs in to it; a session that is there is asked for new disks.
    pub async fn log_in(&self, disk: &Disk, portal: &str, passwords: &Passwords) -> Result<(), String> {
        let database = ["-m", "discoverydb", "-t", "sendtargets", "-p", portal, "-I", &disk.iface];
        let with = |more: &[&'static str]| [&database[..], more].concat();
        // It may be there already.
        self.run(&with(&["-o", "new"])).await?;
        if let Some(passwords) = &passwords.discovery {
            let method = "discovery.sendtargets.auth.authmethod";
            self.set(&database, method, &DISCOVERY_KEYS, passwords).await?;
        }
        let found = self.run(&with(&["--discover"])).await?;
        if !found.success {
            self.run(&with(&["-o", "delete"])).await?;
            let (output, status) = (found.output, found.status);
            return Err(format!("iscsi: failed to sendtargets to portal {portal} output: {output}, err {status}"));
        }
        let node = ["-m", "node", "-p", portal, "-T", &disk.iqn, "-I", &disk.iface];
        let with = |more: &[&'static str]| [&node[..], more].concat();
        if let Some(passwords) = &passwords.session {
            self.set(&node, "node.session.auth.authmethod", &SESSION_KEYS, passwords).await?;
        }
        let login = self.run(&with(&["--login"])).await?;
        if login.code == Some(SESSION_EXISTS) {
            return self.must("rescan the session", &with(&["-R"])).await.map(drop);
        }
        if !login.success {
            self.run(&with(&["-o", "delete"])).await?;
            return Err(format!("iscsi: failed to attach disk: Error: {} ({})", login.output, login.status));
        }
        // A node that starts anew must not wait for a target before anybody needs it.
        let manual = self.run(&with(&["-o", "update", "-n", "node.startup", "-v", "manual"])).await?;
        if !manual.success {
            tracing::warn!(portal, iqn = disk.iqn, err = manual.output, "login to iSCSI target stays automatic");
        }
        Ok(())
    }

    async fn set(
        &self,
        record: &[&str],
        method: &str,
        keys: &[&str],
        passwords: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let given = keys.iter().filter_map(|key| Some((*key, passwords.get(*key)?.as_str())));
        for (name, value) in [(method, "CHAP")].into_iter().chain(given) {
            let update = [record, &["-o", "update", "-n", name, "-v", value]].concat();
            let outcome = self.run(&update).await?;
            if !outcome.success {
                return Err(format!("iscsi: failed to set {name}: {}", outcome.status));
            }
        }
        Ok(())
    }

    /// Ends the sessions with a disk's target. What is not there is none.
    pub async fn log_out(&self, disk: &Disk) -> Result<(), String> {
        for portal in &disk.portals {
            let node = ["-m", "node", "-p", portal, "-T", &disk.iqn, "-I", &disk.iface];
            for (what, more) in [("log out", &["--logout"][..]), ("delete the node record", &["-o", "delete"][..])] {
                let outcome = self.run(&[&node[..], more].concat()).await?;
                if !outcome.success && outcome.code != Some(NOT_FOUND) {
                    let (output, status) = (outcome.output, outcome.status);
                    return Err(format!("iscsi: failed to {what} of {portal}: {output} ({status})"));
                }
            }
        }
        self.remove_iface(disk).await
    }

    /// Removes the interface that was made for a disk.
    pub async fn remove_iface(&self, disk: &Disk) -> Result<(), String> {
        if disk.has_own_iface() {
            self.run(&["-m", "iface", "-I", &disk.iface, "-o", "delete"]).await?;
        }
        Ok(())
    }
}

/// The settings of an interface as they are shown, but for its name and those that are empty.
fn iface_settings(shown: &str) -> BTreeMap<String, String> {
    let pairs = shown.lines().filter_map(|line| line.split_once(" = "));
    let pairs = pairs.map(|(name, value)| (name.trim(), value.trim()));
    let is_set = |(name, value): &(&str, &str)| {
        name.starts_with("iface.") && *name != "iface.iscsi_ifacename" && !value.is_empty() && *value != "<empty>"
    };
    pairs.filter(is_set).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_an_interface_are_read_as_they_are_shown() {
        let shown = "# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = default\niface.net_ifacename = <empty>\n\
                     iface.transport_name = tcp\niface.initiatorname = <empty>\n# END RECORD\n";
        let settings = iface_settings(shown);
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), [("iface.transport_name".to_owned(), "tcp".to_owned())]);
    }
}
