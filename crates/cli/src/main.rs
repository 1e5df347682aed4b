//! `windrow`: the command line and the composition root. It knows every crate and decides nothing that a crate could.

mod args;
mod children;
mod commands;
mod compose;
mod datadir;
mod deliveries;
mod ecs;
mod engines;
mod host;
mod local_door;
mod logging;
mod models;
mod output;
mod owner;
mod random;
mod serve;
mod server;
mod settings;
mod signals;
mod work;
mod workers;
mod workloads;

use std::process::ExitCode as ProcessExit;

use clap::{CommandFactory as _, FromArgMatches as _};
use windrow_plugin::{CommandError, Console, ExitCode, WorkloadCommand};

use crate::args::{Cli, Command, Global};
use crate::host::CommandHost;
use crate::server::Roles;

fn main() -> ProcessExit {
    let groups: Vec<Box<dyn WorkloadCommand>> =
        workloads::plugins().into_iter().flat_map(|plugin| plugin.commands).collect();
    let line = Cli::command().subcommands(groups.iter().map(|group| group.command()));
    let matches = line.get_matches();
    let json = matches.get_flag("json");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(dispatch(&matches, &groups));
            // while the runtime is there to send what is left
            logging::finish();
            ended
        }
        Err(error) => Err(CommandError::new(ExitCode::Failed, error)),
    };
    let code = ended.unwrap_or_else(|CommandError { code, error }| {
        // whoever read the output has read enough, as `head` does: that is no failure
        if output::is_broken_pipe(&error) {
            return ExitCode::Ok;
        }
        output::failure(output::console(json), &error);
        code
    });
    ProcessExit::from(code as u8)
}

async fn dispatch(
    matches: &clap::ArgMatches,
    groups: &[Box<dyn WorkloadCommand>],
) -> Result<ExitCode, CommandError> {
    let group = matches.subcommand().and_then(|(name, below)| {
        groups.iter().find(|group| group.command().get_name() == name).map(|group| (group, below))
    });
    if let Some((group, below)) = group {
        let global =
            Global::from_arg_matches(matches).map_err(|error| CommandError::new(ExitCode::Usage, error))?;
        let host = command_host(&global);
        return group.run(below, &host).await;
    }
    let cli = Cli::from_arg_matches(matches).map_err(|error| CommandError::new(ExitCode::Usage, error))?;
    platform(cli).await
}

async fn platform(cli: Cli) -> Result<ExitCode, CommandError> {
    let Cli { global, command } = cli;
    let console = output::console(global.json);
    match command {
        Command::Up(up) => serving(&settings::all_in_one(&global, &up), Roles::UP, console).await,
        Command::Api(listen) => serving(&settings::listening(&global, &listen), Roles::API, console).await,
        Command::Worker(worker) => {
            let input = settings::working(&global, &worker);
            let mut config = settings::loaded(&input)?;
            workloads::wanted(&config)?;
            // a server's worker on another machine has no data directory that `windrow trace` would look into
            let beside = worker.child.is_some() || config.client.server.is_none();
            logging::serving(&config, beside)?;
            ecs::name_worker(&mut config, &input.env).await;
            work::run(config, &input, worker, console).await
        }
        Command::Config(args::ConfigCommand::Check) => {
            commands::config::check(&settings::input(&global), console)
        }
        Command::Db(command) => {
            let config = settings::loaded(&settings::input(&global))?;
            logging::quiet(&config);
            commands::db::run(command, &config, console).await
        }
        Command::Demo(demo) => commands::demo::run(&global, demo, console).await,
        command => with_server(command, &command_host(&global)).await,
    }
}

/// Commands that speak to a server like any other client.
async fn with_server(command: Command, host: &CommandHost) -> Result<ExitCode, CommandError> {
    match command {
        Command::Token(args::Token::Create { sub, role, ttl }) => {
            commands::people::token(host, &sub, role, ttl).await
        }
        Command::User(args::User::Grant { sub, role, reason }) => {
            commands::people::grant(host, sub, role, reason).await
        }
        Command::User(args::User::List { limit }) => commands::people::list_users(host, limit).await,
        Command::Key(command) => commands::people::key(command, host).await,
        Command::Job(command) => commands::jobs::run(command, host).await,
        Command::DeadLetters(command) => commands::dead_letters::run(command, host).await,
        Command::Upload(command) => commands::files::upload(command, host).await,
        Command::Download(command) => commands::files::download(command, host).await,
        Command::Smoke(what) => commands::trouble::smoke(what, host).await,
        Command::Trace { request_id } => commands::trouble::trace(&request_id, host).await,
        Command::Up(_)
        | Command::Api(_)
        | Command::Worker(_)
        | Command::Demo(_)
        | Command::Db(_)
        | Command::Config(_) => {
            unreachable!("handled before a server is looked for")
        }
    }
}

async fn serving(
    input: &windrow_config::Input,
    roles: Roles,
    console: Console,
) -> Result<ExitCode, CommandError> {
    let mut config = settings::loaded(input)?;
    if roles.worker {
        workloads::wanted(&config)?;
    }
    logging::serving(&config, true)?;
    ecs::name_worker(&mut config, &input.env).await;
    server::run(config, input, roles, console).await
}

fn command_host(global: &Global) -> CommandHost {
    CommandHost { input: settings::input(global), console: output::console(global.json) }
}
