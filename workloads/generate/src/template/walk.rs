//! A walk over a template's syntax: which paths it looks up, which fragments it includes, what it calls.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use minijinja::machinery::ast::{self, CallType, Expr, Stmt};
use minijinja::machinery::parse;

use super::compiled::Fragments;
use super::complexity::check_complexity;
use super::environment::{Names, syntax};
use crate::seed::{FieldPath, Segment};
use crate::spec::TemplateRef;

/// The most fragments walked for one template, doubles counted: fragments that include fragments multiply.
const MAX_WALKED: usize = 500;

/// What the texts of a template use.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Paths into the seed record, and the pointer of the first text that uses each.
    pub(super) paths: BTreeMap<FieldPath, String>,
    /// Paths that the template provides for when they are absent.
    pub(super) optional: BTreeSet<FieldPath>,
    /// Fragments by the name in the include; true when all its includes may be missing.
    pub(super) includes: BTreeMap<String, bool>,
    /// Functions that are called by name.
    pub(super) calls: BTreeSet<String>,
    /// What is wrong, with the pointer of its text.
    pub(super) problems: Vec<(String, String)>,
}

/// Walks texts one after another, into one [`Usage`].
pub(super) struct Walk<'w> {
    names: Names<'w>,
    fragments: &'w Fragments,
    /// The steps whose outputs may be used; none when that isn't known (a fragment on its own).
    steps: Option<&'w [&'w str]>,
    pointer: &'w str,
    /// The fragments that the walk is in, outermost first.
    within: Vec<String>,
    walked: usize,
    scopes: Vec<HashSet<String>>,
    usage: &'w mut Usage,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        names: Names<'w>,
        fragments: &'w Fragments,
        steps: Option<&'w [&'w str]>,
        pointer: &'w str,
        usage: &'w mut Usage,
    ) -> Self {
        let scopes = vec![HashSet::from(["self".to_owned()])];
        Self { names, fragments, steps, pointer, within: Vec::new(), walked: 0, scopes, usage }
    }

    pub(super) fn text(&mut self, source: &str) {
        if let Err(message) = check_complexity(source) {
            return self.problem(0, &message);
        }
        match parse(source, "text", syntax()) {
            Ok(template) => self.statement(&template),
            Err(error) => {
                let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                self.problem(error.line().unwrap_or(0), &detail);
            }
        }
    }

    fn problem(&mut self, line: usize, message: &str) {
        let place = self.within.last().map(|name| format!("in the fragment {name}, ")).unwrap_or_default();
        let line = if line > 0 { format!("line {line} of the text: ") } else { String::new() };
        self.usage.problems.push((self.pointer.to_owned(), format!("{place}{line}{message}")));
    }

    fn assign(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned());
        }
    }

    fn is_assigned(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
    }

    fn scoped(&mut self, names: &[&str], walk: impl FnOnce(&mut Self)) {
        self.scopes.push(names.iter().map(|name| (*name).to_owned()).collect());
        walk(self);
        self.scopes.pop();
    }

    fn target(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(var) => self.assign(var.id),
            Expr::List(list) => list.items.iter().for_each(|item| self.target(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.target(item)),
            // An attribute of a namespace.
            other => self.expression(other),
        }
    }

    fn body(&mut self, body: &[Stmt<'_>]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::ForLoop(each) => self.for_loop(each),
            Stmt::IfCond(branch) => {
                self.expression(&branch.expr);
                self.body(&branch.true_body);
                self.body(&branch.false_body);
            }
            Stmt::WithBlock(with) => self.scoped(&[], |walk| {
                for (target, value) in &with.assignments {
                    walk.expression(value);
                    walk.target(target);
                }
                walk.body(&with.body);
            }),
            Stmt::Set(set) => {
                self.expression(&set.expr);
                self.target(&set.target);
            }
            Stmt::SetBlock(set) => {
                self.scoped(&[], |walk| walk.body(&set.body));
                set.filter.iter().for_each(|filter| self.expression(filter));
                self.target(&set.target);
            }
            Stmt::AutoEscape(block) => self.body(&block.body),
            Stmt::FilterBlock(block) => {
                self.expression(&block.filter);
                self.scoped(&[], |walk| walk.body(&block.body));
            }
            Stmt::Block(block) => self.scoped(&["super"], |walk| walk.body(&block.body)),
            Stmt::Include(include) => {
                self.fragment(&include.name, include.ignore_missing, include.span().start_line.into());
            }
            Stmt::Extends(extends) => self.fragment(&extends.name, false, extends.span().start_line.into()),
            Stmt::Import(import) => {
                let line = import.span().start_line.into();
                self.scoped(&[], |walk| walk.fragment(&import.expr, false, line));
                self.target(&import.name);
            }
            Stmt::FromImport(import) => {
                let line = import.span().start_line.into();
                self.scoped(&[], |walk| walk.fragment(&import.expr, false, line));
                for (name, alias) in &import.names {
                    self.target(alias.as_ref().unwrap_or(name));
                }
            }
            Stmt::Macro(declaration) => {
                self.assign(declaration.name);
                self.macro_body(declaration);
            }
            Stmt::CallBlock(block) => {
                self.call(&block.call);
                self.macro_body(&block.macro_decl);
            }
            Stmt::Do(call) => self.call(&call.call),
        }
    }

    fn for_loop(&mut self, each: &ast::ForLoop<'_>) {
        self.expression(&each.iter);
        self.scoped(&["loop"], |walk| {
            walk.target(&each.target);
            each.filter_expr.iter().for_each(|filter| walk.expression(filter));
            walk.body(&each.body);
        });
        self.body(&each.else_body);
    }

    fn macro_body(&mut self, declaration: &ast::Macro<'_>) {
        self.scoped(&["caller"], |walk| {
            declaration.args.iter().for_each(|argument| walk.target(argument));
            declaration.defaults.iter().for_each(|default| walk.expression(default));
            walk.body(&declaration.body);
        });
    }

    fn fragment(&mut self, name: &Expr<'_>, optional: bool, line: usize) {
        let name = match name {
            Expr::Const(constant) => constant.value.as_str().map(str::to_owned),
            _ => None,
        };
        let Some(name) = name else {
            let message = "an include names one fragment as a text: {% include 'name@version' %}";
            return self.problem(line, message);
        };
        if name.parse::<TemplateRef>().is_err() {
            let message = format!("'{name}' names no fragment; write {{% include 'name@version' %}}");
            return self.problem(line, &message);
        }
        let all_optional = self.usage.includes.entry(name.clone()).or_insert(optional);
        *all_optional &= optional;
        if self.within.contains(&name) {
            let message = format!("{name} includes itself, by way of {}", self.within.join(", "));
            return self.problem(line, &message);
        }
        self.walked += 1;
        if self.walked > MAX_WALKED {
            if self.walked == MAX_WALKED + 1 {
                self.problem(line, &format!("more than {MAX_WALKED} includes"));
            }
            return;
        }
        // A fragment sees what the text around it has set, so it is walked in its place.
        if let Some(source) = self.fragments.get(&name) {
            self.within.push(name);
            self.text(source);
            self.within.pop();
        }
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        self.visit(expression, false);
    }

    /// `optional`: the expression is looked at by something that provides for its absence.
    fn visit(&mut self, expression: &Expr<'_>, optional: bool) {
        if let Some((root, segments)) = chain(expression) {
            return self.lookup(root, segments, optional, expression.span().start_line.into());
        }
        match expression {
            Expr::Var(_) | Expr::Const(_) => {}
            Expr::Slice(slice) => {
                self.expression(&slice.expr);
                [&slice.start, &slice.stop, &slice.step]
                    .into_iter()
                    .flatten()
                    .for_each(|e| self.expression(e));
            }
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                self.expression(&operation.left);
                self.expression(&operation.right);
            }
            Expr::Compare(compare) => {
                self.expression(&compare.expr);
                compare.ops.iter().for_each(|op| self.expression(&op.expr));
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr);
                self.expression(&choice.true_expr);
                choice.false_expr.iter().for_each(|e| self.expression(e));
            }
            Expr::Filter(filter) => {
                let line = filter.span().start_line.into();
                if !self.names.has_filter(filter.name) {
                    self.problem(line, &format!("there is no filter {}", filter.name));
                }
                let optional = matches!(filter.name, "default" | "d");
                filter.expr.iter().for_each(|e| self.visit(e, optional));
                self.arguments(&filter.args);
            }
            Expr::Test(test) => {
                if !self.names.has_test(test.name) {
                    self.problem(test.span().start_line.into(), &format!("there is no test {}", test.name));
                }
                self.visit(&test.expr, matches!(test.name, "defined" | "undefined"));
                self.arguments(&test.args);
            }
            Expr::GetAttr(get) => self.expression(&get.expr),
            Expr::GetItem(get) => {
                self.expression(&get.expr);
                self.expression(&get.subscript_expr);
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.items.iter().for_each(|e| self.expression(e)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|e| self.expression(e)),
            Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(|e| self.expression(e)),
        }
    }

    fn call(&mut self, call: &ast::Spanned<ast::Call<'_>>) {
        match call.identify_call() {
            CallType::Function(name) if self.is_assigned(name) => {}
            CallType::Function(name) if self.names.has_global(name) => {
                self.usage.calls.insert(name.to_owned());
            }
            CallType::Function(name) => {
                self.problem(call.span().start_line.into(), &format!("there is no function {name}"));
            }
            CallType::Method(object, _) | CallType::Object(object) => self.expression(object),
            CallType::Block(_) => {}
        }
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) {
        use ast::CallArg::{Kwarg, KwargSplat, Pos, PosSplat};
        for argument in arguments {
            let (Pos(value) | Kwarg(_, value) | PosSplat(value) | KwargSplat(value)) = argument;
            self.expression(value);
        }
    }

    fn lookup(&mut self, root: &str, segments: Vec<Segment>, optional: bool, line: usize) {
        if self.is_assigned(root) || segments.is_empty() && self.names.has_global(root) {
            return;
        }
        if root == "steps" {
            return self.step(&segments, line);
        }
        let path = segments.into_iter().fold(FieldPath::field(root), FieldPath::join);
        if optional {
            self.usage.optional.insert(path.clone());
        }
        self.usage.paths.entry(path).or_insert_with(|| self.pointer.to_owned());
    }

    fn step(&mut self, segments: &[Segment], line: usize) {
        let (Some(known), Some(Segment::Field(id))) = (self.steps, segments.first()) else { return };
        if !known.contains(&id.as_str()) {
            let message = if known.is_empty() {
                format!("steps.{id} is used, but no step comes before this one")
            } else {
                format!("steps.{id} is no step before this one; there are {}", known.join(", "))
            };
            return self.problem(line, &message);
        }
        match segments.get(1) {
            Some(Segment::Field(field)) if !matches!(field.as_str(), "output" | "skipped") => {
                let message = format!("steps.{id} has output and skipped, but no {field}");
                self.problem(line, &message);
            }
            _ => {}
        }
    }
}

/// A chain of attributes and constant positions that begins with a variable.
fn chain<'e>(expression: &'e Expr<'_>) -> Option<(&'e str, Vec<Segment>)> {
    let mut segments = Vec::new();
    let mut at = expression;
    loop {
        match at {
            Expr::Var(var) => {
                segments.reverse();
                return Some((var.id, segments));
            }
            Expr::GetAttr(get) => {
                segments.push(Segment::Field(get.name.to_owned()));
                at = &get.expr;
            }
            Expr::GetItem(get) => {
                let Expr::Const(key) = &get.subscript_expr else { return None };
                segments.push(match (key.value.as_str(), key.value.as_usize()) {
                    (Some(name), _) => Segment::Field(name.to_owned()),
                    (None, Some(index)) => Segment::Index(index),
                    (None, None) => return None,
                });
                at = &get.expr;
            }
            _ => return None,
        }
    }
}

/// The expression of a text that is nothing but one `{{ expression }}`.
pub(super) fn single_expression(source: &str) -> Option<&str> {
    let trimmed = source.trim();
    let inner = trimmed.strip_prefix("{{")?.strip_suffix("}}")?;
    let Ok(Stmt::Template(template)) = parse(trimmed, "text", syntax()) else { return None };
    let [Stmt::EmitExpr(_)] = template.children.as_slice() else { return None };
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix('-').unwrap_or(inner).trim())
}
