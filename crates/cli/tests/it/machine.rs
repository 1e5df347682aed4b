//! A machine on which something is amiss: limits of the system, another user, a library between the program and the kernel.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{Server, Windrow};

/// Compiles a C library that is loaded into every process of the test before all others: its functions stand for the system's.
pub fn preloaded(windrow: Windrow, source: &str) -> Windrow {
    let source = windrow.file("preloaded.c", source);
    let library = windrow.path("preloaded.so");
    let mut cc = Command::new("cc");
    let made =
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").output().unwrap();
    assert!(made.status.success(), "{made:?}");
    windrow.with_env("LD_PRELOAD", library.display().to_string())
}

/// The same command, of a shell that has set these limits for itself (bash's `ulimit`).
pub fn within(limits: &str, command: &Command) -> Command {
    let mut limited = Command::new("bash");
    limited.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(command.get_program());
    like(&mut limited, command);
    limited
}

/// The same command, by a user who may write only what is everybody's: for root no file is read-only. Whoever runs the tests
/// without being root is such a user.
pub fn as_nobody(windrow: &Windrow, args: &[&str]) -> Command {
    let command = windrow.command(args);
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    // setpriv(1), of util-linux
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(command.get_program());
    like(&mut nobody, &command);
    nobody
}

fn like(wrapper: &mut Command, command: &Command) {
    wrapper.args(command.get_args()).current_dir(command.get_current_dir().unwrap()).env_clear();
    wrapper.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
}

/// `windrow up` within limits.
pub fn up_within(windrow: &Windrow, limits: &str) -> Server {
    Server::start(within(limits, &windrow.command(&["up", "--data-dir", "data", "--port", "0", "--json"])))
}

/// A small disk of its own, a tmpfs in a namespace that only the test's commands see. Dropped, it is gone, with what is on it.
pub struct SmallDisk {
    holder: Child,
    enter: Vec<String>,
    place: &'static str,
}

impl SmallDisk {
    /// Makes the directory `place` one, and has all commands of `windrow` run where it is. `size` is tmpfs(5)'s: `8m` are 8 MiB.
    pub fn at(windrow: &mut Windrow, place: &'static str, size: &str) -> Self {
        std::fs::create_dir_all(windrow.path(place)).unwrap();
        let mount =
            format!("mount -t tmpfs -o size={size} tmpfs {place} && echo mounted && exec sleep infinity");
        // unshare(1) and nsenter(1), of util-linux; whoever is not root becomes it in the namespace
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]);
        let mut holder =
            unshare.current_dir(windrow.dir.path()).stdout(Stdio::piped()).spawn().expect("unshare is there");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(
            line.trim(),
            "mounted",
            "this user may make no user namespaces: sysctl -w kernel.unprivileged_userns_clone=1"
        );
        let target = format!("--target={}", holder.id());
        let enter = ["nsenter", &target, "--user", "--preserve-credentials", "--mount", "--wd"];
        let enter = enter.map(str::to_owned).to_vec();
        windrow.run_by(enter.clone());
        Self { holder, enter, place }
    }

    /// Gives it another size; what is on it stays.
    pub fn resize(&self, size: &str) {
        let mut mount = Command::new(&self.enter[0]);
        mount.args(&self.enter[1..]);
        mount.args(["mount", "-o", &format!("remount,size={size}"), self.place]);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Waits for the end of a server under whose database the disk has failed: it says so, and what to do.
pub fn ends_by_its_disk(server: &mut Server) {
    let (code, log) = server.ended();
    assert_eq!(code, 1, "{log}");
    for part in [
        "the database's disk failed; nothing acknowledged is lost",
        "free space or mend the disk, then restart",
    ] {
        assert!(log.contains(part), "{part:?} is missing in:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}
