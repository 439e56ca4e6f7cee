//! TLS for the HTTP client that this crate makes, from the first of the features that is on:
//! `rustls-ring`, `rustls-aws-lc`.

#[cfg(any(feature = "rustls-ring", feature = "rustls-aws-lc"))]
mod rustls_config {
    use std::sync::Arc;

    use reqwest::ClientBuilder;
    use rustls::client::WantsClientCert;
    use rustls::{ClientConfig, ConfigBuilder, Error, RootCertStore, WantsVerifier};
    use rustls_platform_verifier::BuilderVerifierExt;

    use crate::problem::Rule;

    /// The client with TLS 1.2 and 1.3. Certificates are judged as the operating system judges
    /// them.
    pub(crate) fn with_tls(client: ClientBuilder) -> Result<ClientBuilder, Rule> {
        configured(client, BuilderVerifierExt::with_platform_verifier)
    }

    /// The client without certificates, for plain http to this machine: none are read, so none
    /// have to be there.
    pub(crate) fn without_tls(client: ClientBuilder) -> Result<ClientBuilder, Rule> {
        configured(client, |config| Ok(config.with_root_certificates(RootCertStore::empty())))
    }

    fn configured(
        client: ClientBuilder,
        verified: impl FnOnce(
            ConfigBuilder<ClientConfig, WantsVerifier>,
        ) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error>,
    ) -> Result<ClientBuilder, Rule> {
        #[cfg(feature = "rustls-ring")]
        let provider = rustls::crypto::ring::default_provider();
        #[cfg(not(feature = "rustls-ring"))]
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .and_then(verified)
            .map_err(|error| Rule::Tls(format!("TLS cannot be set up: {error}")))?;
        Ok(client.tls_backend_preconfigured(config.with_no_client_auth()))
    }
}

#[cfg(not(any(feature = "rustls-ring", feature = "rustls-aws-lc")))]
mod no_tls {
    use reqwest::ClientBuilder;

    use crate::problem::Rule;

    pub(crate) fn with_tls(_: ClientBuilder) -> Result<ClientBuilder, Rule> {
        Err(Rule::Tls(
            "this build of lon-batch has no TLS: turn on its feature `rustls-ring` or \
             `rustls-aws-lc`, or give the client a `reqwest::Client` of your own"
                .to_owned(),
        ))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as where there is TLS")]
    pub(crate) fn without_tls(client: ClientBuilder) -> Result<ClientBuilder, Rule> {
        Ok(client)
    }
}

#[cfg(not(any(feature = "rustls-ring", feature = "rustls-aws-lc")))]
pub(crate) use no_tls::{with_tls, without_tls};
#[cfg(any(feature = "rustls-ring", feature = "rustls-aws-lc"))]
pub(crate) use rustls_config::{with_tls, without_tls};
