//! Other servers of the site: each with a valid certificate of its role, and with a will of its own.

use axum::{extract::Request, middleware::Next};
use waybill::{cap::published::Poll, wire::policy::PolicyAnswer};

use super::*;

/// What a server answers that is not what it should be: looks at the request, and answers it or lets it pass.
pub(crate) type Evil = Arc<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

impl Site {
    /// Starts another server of this site, with a valid certificate of its role, which does all that the site does except
    /// for what `evil` answers. Gives its URL.
    pub(crate) fn impostor(&self, role: Role, evil: Evil) -> String {
        let key = DeviceKey::generate().unwrap();
        let names = ServerNames::parse(&["127.0.0.1"]).unwrap();
        let (lifetime, csr_pem) = (Duration::from_secs(3_600), key.csr_pem().unwrap());
        let grant = Grant { site_id: SITE_ID, role, id: "impostor", names: &names, lifetime };
        let issued = self.authority.issue_identity(&csr_pem, &grant, clock::now()).unwrap();
        let certificate = ServingCertificate::new(&issued.chain_pem, &key).unwrap();
        let tls = ServerTls::devices(certificate, self.authority.certificate_pem()).unwrap();
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let honest = routes::router(Cap::new(self.published.subscribe(), Arc::new(self.store.clone())));
        let router = honest.merge(points(self.store.clone())).layer(axum::middleware::from_fn(
            move |request: Request, next: Next| {
                let answer = evil(&request);
                async move {
                    match answer {
                        Some(answer) => answer,
                        None => next.run(request).await,
                    }
                }
            },
        ));
        self.runtime.spawn(serve(
            listener,
            tls,
            router,
            Limits::default(),
            Arc::new(|_| Ok(())),
            self.shutdown.clone(),
        ));
        url
    }

    /// What the client is answered now: the policy that the site signed for it.
    pub(crate) fn policy(&self) -> PolicyAnswer {
        match self.published.borrow().poll(CLIENT, None, clock::now()) {
            Poll::Changed(answer, _) => *answer,
            Poll::Unchanged | Poll::Unknown => panic!("nothing is offered yet"),
        }
    }

    /// The key that the client believes.
    pub(crate) fn key(&self) -> &SiteKey {
        &self.key
    }

    /// Something that the site signed.
    pub(crate) fn signed(&self, payload_type: &str, payload: &impl serde::Serialize) -> Envelope {
        Envelope::sign(payload_type, serde_json::to_string(payload).unwrap(), &self.key).unwrap()
    }

    /// The signed record of this digest.
    pub(crate) fn signed_record(&self, digest: &Digest) -> Envelope {
        self.records[digest].clone()
    }
}
