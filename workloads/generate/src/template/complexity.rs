//! Refuses texts that would take a deep stack to compile, before anything recurses into them: the interpreter's
//! compiler goes one level down for each operator of a chain and for each nested block, and its stack is a thread's.

use minijinja::machinery::{Token, tokenize};

use super::environment::syntax;

/// The most operators, names and brackets in one expression.
const MAX_OPERATORS: usize = 200;
/// The deepest nesting of blocks; each `elif` is one more.
const MAX_BLOCKS: usize = 50;

/// Blocks that have an end. A `set` without `=` is one too.
const BLOCKS: [&str; 8] = ["if", "for", "with", "filter", "block", "macro", "call", "autoescape"];

/// Says what is too deep, and on which line.
pub(super) fn check_complexity(source: &str) -> Result<(), String> {
    let mut operators = 0;
    // Each open block with its branches.
    let mut blocks: Vec<usize> = Vec::new();
    let mut statement = Statement::default();
    for token in tokenize(source, false, syntax()) {
        // What can't be read is the parser's to report, with a better message.
        let Ok((token, span)) = token else { return Ok(()) };
        match token {
            Token::VariableStart => operators = 0,
            Token::BlockStart => {
                operators = 0;
                statement = Statement::default();
            }
            Token::BlockEnd => statement.end(&mut blocks),
            Token::TemplateData(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::Comma
            | Token::Colon
            | Token::VariableEnd => {}
            other => {
                operators += 1;
                statement.token(&other);
            }
        }
        let line = span.start_line;
        if operators > MAX_OPERATORS {
            return Err(format!(
                "the expression on line {line} has more than {MAX_OPERATORS} operators and names"
            ));
        }
        if blocks.iter().sum::<usize>() > MAX_BLOCKS {
            return Err(format!("the blocks on line {line} are nested more than {MAX_BLOCKS} deep"));
        }
    }
    Ok(())
}

/// What a statement does to the nesting of blocks.
#[derive(Default)]
struct Statement {
    keyword: Option<Keyword>,
    assigns: bool,
}

enum Keyword {
    Opens,
    Set,
    Branches,
    Closes,
    Other,
}

impl Statement {
    fn token(&mut self, token: &Token<'_>) {
        self.assigns |= matches!(token, Token::Assign);
        if self.keyword.is_none() {
            self.keyword = Some(match token {
                Token::Ident(name) if BLOCKS.contains(name) => Keyword::Opens,
                Token::Ident("set") => Keyword::Set,
                Token::Ident("elif") => Keyword::Branches,
                Token::Ident(name) if name.starts_with("end") => Keyword::Closes,
                _ => Keyword::Other,
            });
        }
    }

    fn end(&mut self, blocks: &mut Vec<usize>) {
        match self.keyword.take() {
            Some(Keyword::Opens) => blocks.push(1),
            Some(Keyword::Set) if !self.assigns => blocks.push(1),
            Some(Keyword::Branches) => blocks.last_mut().into_iter().for_each(|branches| *branches += 1),
            Some(Keyword::Closes) => {
                blocks.pop();
            }
            _ => {}
        }
    }
}
