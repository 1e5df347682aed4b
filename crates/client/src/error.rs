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
    /// A refusal without a problem document: something between this client and the server answered, such as a proxy whose server
    /// is being replaced.
    #[error("{endpoint} answered {status} without a problem document: is something else in between?")]
    Refused { endpoint: String, status: u16 },
    /// What came back is not what this client understands.
    #[error("unexpected answer from {endpoint}: {reason}")]
    Unexpected { endpoint: String, reason: String },
    /// A local file could not be read or written.
    #[error("{path}: {reason}")]
    File { path: String, reason: std::io::Error },
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
            Self::Problem(problem) => is_for_now(problem.status),
            Self::Refused { status, .. } => is_for_now(*status),
            Self::Unexpected { .. } | Self::File { .. } => false,
        }
    }
}

/// Whether a status says that the fault is not the request's (RFC 9110, 15.6; RFC 6585, 4).
const fn is_for_now(status: u16) -> bool {
    status >= 500 || status == 429
}

/// The detail names the first fault, for those who read no further: each fault is printed once.
fn display_problem(problem: &Problem) -> String {
    let detail = problem.detail.as_str();
    let faults: Vec<String> = problem.errors.iter().map(ToString::to_string).collect();
    let named = faults.first().and_then(|first| detail.find(first.as_str()));
    match (named, faults.len()) {
        (Some(_), 1) => detail.to_owned(),
        (Some(at), _) => [detail[..at].trim_end(), &faults.join("\n  ")].join("\n  "),
        (None, _) => faults.iter().fold(detail.to_owned(), |text, fault| text + "\n  " + fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_core::FieldError;

    fn shown(detail: &str, faults: &[&str]) -> String {
        let faults = faults.iter().map(|pointer| FieldError::new(*pointer, "is missing")).collect();
        let problem = Problem::new(422, "invalid_spec", detail.to_owned()).with_errors(faults);
        ClientError::Problem(Box::new(problem)).to_string()
    }

    #[test]
    fn a_proxys_own_error_page_may_pass() {
        let refused = |status| ClientError::Refused { endpoint: "http://a".to_owned(), status };
        let passing: Vec<u16> =
            [301, 404, 429, 500, 502, 503, 504].into_iter().filter(|s| refused(*s).is_transient()).collect();
        assert_eq!(passing, [429, 500, 502, 503, 504]);
    }

    #[test]
    fn each_fault_is_printed_once() {
        assert_eq!(
            shown("the spec is not valid: /a: is missing", &["/a"]),
            "the spec is not valid: /a: is missing"
        );
        let two = shown("the spec is not valid: /a: is missing (and 1 more)", &["/a", "/b"]);
        assert_eq!(two, "the spec is not valid:\n  /a: is missing\n  /b: is missing");
        assert_eq!(
            shown("the body is not as expected", &["/a"]),
            "the body is not as expected\n  /a: is missing"
        );
        assert_eq!(shown("no such job", &[]), "no such job");
    }
}
