//! Routes that can be served before anybody has built their document.
//!
//! Building the OpenAPI document takes some 15 MB and touches most of the API's code, and few processes are ever asked for it. So
//! a router keeps how each part of the document is made, and makes it on demand.

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, Route};
use tower::{Layer, Service};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::ApiState;

/// What [`routes!`](crate::routes) makes: handlers of one path, and how their part of the document is made.
pub struct Documented {
    pub path: String,
    pub handlers: MethodRouter<ApiState>,
    pub document: fn() -> UtoipaMethodRouter<ApiState>,
}

/// A router that can make its own OpenAPI document.
#[derive(Default)]
pub struct ApiRouter {
    router: Router<ApiState>,
    documents: Vec<fn() -> UtoipaMethodRouter<ApiState>>,
}

impl ApiRouter {
    /// Without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds handlers that the document tells of.
    #[must_use]
    pub fn routes(mut self, routes: Documented) -> Self {
        self.router = self.router.route(&routes.path, routes.handlers);
        self.documents.push(routes.document);
        self
    }

    /// Adds handlers that the document doesn't tell of.
    #[must_use]
    pub fn route(mut self, path: &str, handlers: MethodRouter<ApiState>) -> Self {
        self.router = self.router.route(path, handlers);
        self
    }

    /// Both routers' routes.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.documents.extend(other.documents);
        self
    }

    /// Wraps all routes that are there so far.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<std::convert::Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.layer(layer);
        self
    }

    /// The routes alone.
    pub(crate) fn undocumented(self) -> Router<ApiState> {
        self.router
    }

    /// The routes, and what makes the document of them inside `frame`.
    pub(crate) fn split(
        self,
        frame: fn() -> OpenApi,
    ) -> (Router<ApiState>, impl FnOnce() -> OpenApi + Send + 'static) {
        let documents = self.documents;
        let make = move || {
            let framed = OpenApiRouter::with_openapi(frame());
            documents.into_iter().fold(framed, |whole, part| whole.routes(part())).into_openapi()
        };
        (self.router, make)
    }
}

/// Handlers of one path, each annotated with `utoipa::path` and named `module::handler`, for [`ApiRouter::routes`].
#[macro_export]
macro_rules! routes {
    ($first:ident::$handler:ident $(, $module:ident::$other:ident)*) => {
        ::utoipa_axum::paste! {{
            use ::utoipa::Path as _;
            use ::utoipa_axum::PathItemExt as _;
            let handlers = $crate::routes!(@on ::axum::routing::MethodRouter::new(), $first::$handler, $first::[<__path_ $handler>]);
            $(let handlers = $crate::routes!(@on handlers, $module::$other, $module::[<__path_ $other>]);)*
            $crate::Documented {
                path: $first::[<__path_ $handler>]::path(),
                handlers,
                document: || ::utoipa_axum::routes!($first::$handler $(, $module::$other)*),
            }
        }}
    };
    (@on $router:expr, $handler:path, $path:ty) => {
        <$path>::methods()
            .into_iter()
            .fold($router, |router, method| router.on(method.to_method_filter(), $handler))
    };
}
