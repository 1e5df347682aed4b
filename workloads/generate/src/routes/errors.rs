//! From the use cases' errors to problem documents.

use axum::http::StatusCode;
use windrow_app::AppError;
use windrow_core::FieldError;
use windrow_engine::PrepareError;
use windrow_rest::ApiError;

use crate::use_cases::estimate::EstimateFailure;
use crate::use_cases::records::RecordsError;
use crate::use_cases::seeds::SeedsError;
use crate::use_cases::templates::TemplateError;

/// `base` is where the document stands in the request.
pub(super) fn template(error: TemplateError, base: &str) -> ApiError {
    match error {
        TemplateError::NotFound => ApiError::not_found("template"),
        TemplateError::NoVersion(version) => {
            ApiError::not_found(&format!("version {version} of this template"))
        }
        TemplateError::Invalid(faults) => ApiError::invalid("the template is not valid", under(base, faults)),
        TemplateError::NameTaken(_) => ApiError::new(StatusCode::CONFLICT, "template_name_taken", error),
        TemplateError::InUse(_) | TemplateError::InUseByOthers => {
            ApiError::new(StatusCode::CONFLICT, "template_in_use", error)
        }
        TemplateError::Renamed { .. } => {
            ApiError::invalid("the template is not valid", vec![FieldError::new(base, error)])
        }
        TemplateError::Store(error) => AppError::from(error).into(),
    }
}

/// `pointer` is where the seed data stands in the request.
pub(super) fn seeds(error: SeedsError, pointer: &str) -> ApiError {
    match error {
        SeedsError::Store(error) => AppError::from(error).into(),
        SeedsError::Blob(error) => AppError::from(error).into(),
        fault => ApiError::invalid("the seed data can't be used", vec![FieldError::new(pointer, fault)]),
    }
}

pub(super) fn estimate(error: EstimateFailure) -> ApiError {
    match error {
        EstimateFailure::Invalid(faults) | EstimateFailure::Prepare(PrepareError::Invalid(faults)) => {
            ApiError::from(AppError::InvalidSpec(under("/spec", faults)))
        }
        EstimateFailure::Prepare(PrepareError::Store(error)) => AppError::from(error).into(),
        EstimateFailure::Prepare(PrepareError::Blob(error)) => AppError::from(error).into(),
        EstimateFailure::Seeds(error) => seeds(error, "/spec/seed"),
    }
}

pub(super) fn records(error: RecordsError) -> ApiError {
    match error {
        RecordsError::NotFound => ApiError::not_found("job"),
        RecordsError::Store(error) => AppError::from(error).into(),
        RecordsError::Blob(error) => AppError::from(error).into(),
        damaged @ RecordsError::Damaged { .. } => AppError::internal(damaged).into(),
    }
}

fn under(base: &str, faults: Vec<FieldError>) -> Vec<FieldError> {
    let at = |fault: FieldError| FieldError { pointer: format!("{base}{}", fault.pointer), ..fault };
    faults.into_iter().map(at).collect()
}
