//! What stands between a client and the server: as kube builds it, but for the clock by which certificates end.

use base::Env;
use http::{Request, Response};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt, DynBody};
use tower::retry::RetryLayer;
use tower::util::BoxService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

/// A client over HTTPS whose time is that of `env`.
pub(crate) fn over_https(config: &kube::Config, env: &Env) -> Result<kube::Client, kube::Error> {
    if config.proxy_url.is_some() {
        // Proxies are kube's business: it says which it knows.
        return kube::Client::try_from(config.clone());
    }
    let mut tls = config.rustls_client_config()?;
    tls.time_provider = pki::Clock::new(env);
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = config.tls_server_name.clone() {
        let name = name.try_into().map_err(kube::client::RustlsTlsError::InvalidServerName);
        builder =
            builder.with_server_name_resolver(FixedServerNameResolver::new(name.map_err(kube::Error::RustlsTls)?));
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let mut connector = TimeoutConnector::new(builder.enable_http1().wrap_connector(http));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);

    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    let service = service.map_response(|response: Response<_>| {
        response.map(|body| Box::new(http_body_util::BodyExt::map_err(body, BoxError::from)) as Box<DynBody>)
    });
    let service: BoxService<Request<Body>, _, BoxError> = service.boxed();
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}
