use windrow_api_types::Problem;

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered: wrong address, server down, connection cut.
    #[error("can't reach {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    /// The server refused; the problem says why (RFC 9457).
    #[error("{}", display_problem(.0))]
    Problem(Box<Problem>),
    /// What came back is not what this client understands, such as a proxy's error page.
    #[error("unexpected answer from {endpoint}: {reason}")]
    Unexpected { endpoint: String, reason: String },
    /// A local file could not be read or written.
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
}

impl ClientError {
    /// The problem's stable code, when the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem(problem) => problem.status >= 500 || problem.status == 429,
            Self::Unexpected { .. } | Self::File { .. } => false,
        }
    }
}

fn display_problem(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    for error in &problem.errors {
        text.push_str("\n  ");
        text.push_str(&error.to_string());
    }
    text
}
