//! A setting's value under its own name and under the other names that are accepted for it.

use crate::contract::{Convert, Setting};
use crate::input::Input;
use crate::load::{Found, Owned, Problem};
use crate::value::{Raw, parse};

/// The value that the command line or the environment gives a setting, and the problem when two names disagree.
pub(crate) fn find(setting: &Setting, input: &Input) -> (Option<Found>, Option<Problem>) {
    let Some(name) = setting.env else { return (None, None) };
    let flag = input.flags.iter().rev().find(|(flag, _)| *flag == name);
    if let Some((_, value)) = flag {
        return (Some(text(value.clone(), "command line".to_owned())), None);
    }
    let set = |name: &str| input.env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let own = set(name).map(|value| (name, value.to_owned()));
    let others = setting
        .aliases
        .iter()
        .filter_map(|alias| set(alias.name).map(|value| (alias.name, convert(alias.convert, value))));
    let mut candidates = own.into_iter().chain(others);
    let Some((first, value)) = candidates.next() else { return (None, None) };
    let other = candidates.find(|(_, other)| !agree(setting, &value, other));
    let clash = other.map(|(other, _)| {
        Problem::new(
            first,
            format!("{other} is another name for it and has another value; keep one of the two"),
        )
    });
    let source = if first == name { "environment".to_owned() } else { format!("environment as {first}") };
    (Some(text(value, source)), clash)
}

fn text(value: String, source: String) -> Found {
    Found { raw: Owned::Text(value), source }
}

/// Gives a bare number its unit; anything else stays, and is refused or read like the setting's own value.
fn convert(convert: Convert, value: &str) -> String {
    let bare = value.bytes().all(|b| b.is_ascii_digit());
    match convert {
        Convert::Seconds if bare => format!("{value}s"),
        Convert::Millis if bare => format!("{value}ms"),
        _ => value.to_owned(),
    }
}

/// Whether two texts mean the same value.
fn agree(setting: &Setting, left: &str, right: &str) -> bool {
    let read = |text: &str| {
        let meant =
            setting.synonyms.iter().find(|(synonym, _)| *synonym == text).map_or(text, |(_, meant)| meant);
        parse(setting.kind, &Raw::Text(meant)).ok()
    };
    left == right || (read(left).is_some() && read(left) == read(right))
}
