//! The interpreter that templates run in.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::filters;

/// The most instructions of one render of one text. A prompt takes a few hundred; this many take some 30 ms.
pub const FUEL: u64 = 1_000_000;
/// The largest rendered text, in bytes.
pub(super) const MAX_RENDERED: usize = 4 << 20;

/// Blocks take their line with them: their newline, and the blanks in front.
pub(super) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the standard delimiters are a valid syntax")
}

/// An interpreter without any template: strict about undefined values, no escaping, no files, limited in its steps.
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_syntax(syntax());
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_unknown_method_callback(unknown_method_callback);
    env.set_debug(false);
    filters::register(&mut env);
    env
}

/// Which names templates may call.
pub(super) struct Names<'e>(pub(super) &'e Environment<'static>);

impl Names<'_> {
    pub(super) fn has_filter(&self, name: &str) -> bool {
        // The interpreter keeps its list to itself; an unknown name has an error of its own kind.
        !matches!(self.0.empty_state().apply_filter(name, &[]), Err(e) if e.kind() == ErrorKind::UnknownFilter)
    }

    pub(super) fn has_test(&self, name: &str) -> bool {
        !matches!(self.0.empty_state().perform_test(name, &[]), Err(e) if e.kind() == ErrorKind::UnknownTest)
    }

    pub(super) fn has_global(&self, name: &str) -> bool {
        self.0.globals().any(|(global, _)| global == name)
    }
}
