//! Stands for the registry of models until it is there: knows no model.

use std::sync::Arc;

use windrow_core::{JobError, PicoUsd};
use windrow_models::{ModelError, ModelRequest, ModelResponse, Usage};

#[derive(Debug)]
pub struct Models;

#[derive(Debug)]
pub enum Model {}

#[derive(Debug)]
pub enum Admission {}

impl Models {
    pub fn resolve(&self, name: &str) -> Result<Arc<Model>, JobError> {
        Err(JobError::user("model_unknown", format!("there is no model {name:?}")))
    }
}

impl Model {
    pub fn id(&self) -> &str {
        match *self {}
    }
    pub fn is_priced(&self) -> bool {
        match *self {}
    }
    pub fn worst_case(&self, _request: &ModelRequest) -> PicoUsd {
        match *self {}
    }
    pub fn cost(&self, _usage: &Usage) -> PicoUsd {
        match *self {}
    }
    pub async fn call(&self, _request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        match *self {}
    }
    pub async fn admit(&self, _request: &ModelRequest) -> Result<Admission, ModelError> {
        match *self {}
    }
}

impl Admission {
    pub async fn send(self, _request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        match self {}
    }
}
