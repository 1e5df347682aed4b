//! `windrow generate …` and `windrow template …`. They speak to a server like any other client; those that need none
//! start an engine of their own on the output directory.

mod args;
mod estimate;
mod follow;
mod local;
mod make_seeds;
mod place;
mod preview;
mod push;
mod report;
mod run;
mod templates;

use async_trait::async_trait;
use clap::{ArgMatches, Command, FromArgMatches as _, Subcommand as _};
use windrow_plugin::{CommandError, ExitCode, Host, WorkloadCommand};

use args::{GenerateCommand, TemplateCommand};

/// All of them.
pub fn commands() -> Vec<Box<dyn WorkloadCommand>> {
    vec![Box::new(GenerateGroup), Box::new(TemplateGroup)]
}

struct GenerateGroup;

#[async_trait]
impl WorkloadCommand for GenerateGroup {
    fn command(&self) -> Command {
        let about = "Make synthetic datasets from seed records and a prompt template";
        GenerateCommand::augment_subcommands(Command::new("generate").about(about))
            .subcommand_required(true)
            .arg_required_else_help(true)
    }

    async fn run(&self, matches: &ArgMatches, host: &dyn Host) -> Result<ExitCode, CommandError> {
        match GenerateCommand::from_arg_matches(matches).map_err(usage)? {
            GenerateCommand::Run(args) => run::run(*args, host).await,
            GenerateCommand::Estimate(args) => estimate::run(*args, host).await,
            GenerateCommand::Seed(args) => make_seeds::run(*args, host).await,
        }
    }
}

struct TemplateGroup;

#[async_trait]
impl WorkloadCommand for TemplateGroup {
    fn command(&self) -> Command {
        let about = "Write, share and compare prompt templates";
        TemplateCommand::augment_subcommands(Command::new("template").about(about))
            .subcommand_required(true)
            .arg_required_else_help(true)
    }

    async fn run(&self, matches: &ArgMatches, host: &dyn Host) -> Result<ExitCode, CommandError> {
        match TemplateCommand::from_arg_matches(matches).map_err(usage)? {
            TemplateCommand::Preview(args) => preview::run(args, host).await,
            command => templates::run(command, host).await,
        }
    }
}

fn usage(error: clap::Error) -> CommandError {
    CommandError::new(ExitCode::Usage, error)
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        for group in commands() {
            group.command().debug_assert();
        }
        // an argument group by itself, to be seen in its own help
        args::RunArgs::augment_args(Command::new("run")).debug_assert();
    }
}
