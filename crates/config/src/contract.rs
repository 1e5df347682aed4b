//! What a line of the contract table says.

/// One setting: a name in the environment, a place in `windrow.toml` and in [`crate::Config`], and what may stand there.
#[derive(Debug)]
pub struct Setting {
    /// The name in the environment; none for what exists once a model, provider or workload.
    pub env: Option<&'static str>,
    /// The dotted place in `windrow.toml`. A `*` stands for a name that the user chooses.
    pub path: &'static str,
    pub kind: Kind,
    /// As it would be written; none when there is no value unless it is set.
    pub default: Option<&'static str>,
    pub set_by: SetBy,
    pub secret: bool,
    pub required: Required,
    /// Other names that are accepted for it.
    pub aliases: &'static [Alias],
    /// Values that only aliases' users know, and what they mean here.
    pub synonyms: &'static [(&'static str, &'static str)],
    /// What it is for, in one or two sentences.
    pub doc: &'static str,
    /// What the example files for local, uat and prod show; none where the setting stays a comment.
    pub examples: [Option<&'static str>; 3],
}

/// Another name for a setting.
#[derive(Debug)]
pub struct Alias {
    pub name: &'static str,
    pub convert: Convert,
}

/// How an alias's value becomes the setting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    Same,
    /// A number of seconds.
    Seconds,
    /// A number of milliseconds.
    Millis,
}

/// Who usually decides on a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// The default serves nearly everybody.
    Windrow,
    /// The people who run the installation.
    Operator,
    /// What provisions it (Terraform, Helm, Compose).
    Infrastructure,
    /// The secret store.
    SecretStore,
}

impl SetBy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Windrow => "windrow",
            Self::Operator => "operator",
            Self::Infrastructure => "infrastructure",
            Self::SecretStore => "secret store",
        }
    }
}

/// When a setting that has no default must be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    Never,
    /// With `APP_ENV=uat` and `APP_ENV=prod`.
    Deployed,
    /// In a case that validation knows; the text names it.
    When(&'static str),
}

impl Required {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::Deployed => "with APP_ENV uat or prod",
            Self::When(case) => case,
        }
    }
}

/// What may stand in a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bool,
    Integer {
        min: u64,
        max: u64,
    },
    /// A size in bytes; `KiB`, `MiB`, `GiB` are understood.
    Bytes,
    /// A span of time; `ms`, `s`, `m`, `h`, `d` are understood.
    Duration,
    /// An http or https URL.
    Url,
    Path,
    Ip,
    /// Texts separated by commas.
    List,
    /// http or https origins separated by commas.
    Origins,
    OneOf(&'static [&'static str]),
    /// An exact amount of USD.
    Money,
    /// `sqlite:PATH` or `postgres://…`.
    Database,
    /// `postgres://…`.
    Postgres,
}

impl Kind {
    /// The format in words, as `config check` and the documentation show it.
    pub fn format(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Bool => "true or false".into(),
            Self::Integer { min, max: u64::MAX } => format!("whole number from {min}"),
            Self::Integer { min, max } => format!("whole number, {min} to {max}"),
            Self::Bytes => "size, such as 512KiB or 100MiB".into(),
            Self::Duration => "duration, such as 500ms, 2s, 15m, 12h or 90d".into(),
            Self::Url => "http or https URL".into(),
            Self::Path => "path".into(),
            Self::Ip => "IP address".into(),
            Self::List => "texts separated by commas".into(),
            Self::Origins => "origins such as https://app.example.com, separated by commas".into(),
            Self::OneOf(values) => values.join(" | "),
            Self::Money => "USD, such as 2.50".into(),
            Self::Database => "sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE".into(),
            Self::Postgres => "postgres://USER:PASSWORD@HOST:PORT/DATABASE".into(),
        }
    }
}

impl Setting {
    pub(crate) const fn new(
        env: &'static str,
        path: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            env: some(env),
            path,
            kind,
            default: some(default),
            set_by: SetBy::Windrow,
            secret: false,
            required: Required::Never,
            aliases: &[],
            synonyms: &[],
            doc,
            examples: [None; 3],
        }
    }

    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self.set_by = SetBy::SecretStore;
        self
    }

    pub(crate) const fn by(mut self, set_by: SetBy) -> Self {
        self.set_by = set_by;
        self
    }

    pub(crate) const fn required(mut self, required: Required) -> Self {
        self.required = required;
        self
    }

    pub(crate) const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(crate) const fn synonyms(mut self, synonyms: &'static [(&'static str, &'static str)]) -> Self {
        self.synonyms = synonyms;
        self
    }

    pub(crate) const fn examples(
        mut self,
        local: &'static str,
        uat: &'static str,
        prod: &'static str,
    ) -> Self {
        self.examples = [some(local), some(uat), some(prod)];
        self
    }

    /// The name that people know it by.
    pub fn name(&self) -> &'static str {
        self.env.unwrap_or(self.path)
    }
}

const fn some(text: &'static str) -> Option<&'static str> {
    if text.is_empty() { None } else { Some(text) }
}
