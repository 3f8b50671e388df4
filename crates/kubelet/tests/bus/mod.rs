//! A machine's bus: Debian's daemon, with what a test serves on it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A bus of the test's own.
pub struct Bus {
    daemon: Child,
    /// How it is reached, as D-Bus writes it.
    pub address: String,
}

impl Bus {
    /// Starts one whose socket is `bus` in this directory.
    pub fn start(dir: &Path) -> Self {
        let config = dir.join("bus.conf");
        let text = format!(
            "<busconfig><type>system</type><listen>unix:path={}/bus</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
             <allow send_type=\"signal\"/><allow receive_sender=\"*\"/></policy></busconfig>",
            dir.display()
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg("--print-address").arg(format!("--config-file={}", config.display()));
        let mut daemon = command.stdout(Stdio::piped()).spawn().expect("Debian's package dbus is installed");
        let mut address = String::new();
        let output = daemon.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut address).expect("an address");
        Self { daemon, address: address.trim().to_owned() }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
