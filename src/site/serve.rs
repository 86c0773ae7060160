//! Starts a site server and runs it until it is told to stop: state, Kubernetes API, controllers, offer manager, git
//! sync, listeners. Read [`assemble`] to see how the parts fit.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    builtin::Builtin,
    enrol::Enrolment,
    fleet, health,
    intake::Intake,
    listeners::{Listeners, endpoints, names, write_endpoints},
    offers::OfferManager,
    options::{Endpoints, Options, Served},
    points::Points,
    routes::{REPORT_BYTES_MAX, SiteRoutes},
    shelf,
    signals::Signals,
    snapshot::Snapshots,
    sources,
    state::{StateDirectory, StateError},
    sync,
};
use crate::{
    api,
    apiserver::{
        ApiServer, Identity, OpenError,
        credentials::{Credentials, CredentialsError},
    },
    cap::{self, Cap},
    clock,
    content::{ContentError, library::Library},
    controller::{
        context::{Context, Revision, SiteIdentity},
        looks::SourceLooks,
        start::Controllers,
    },
    db::{self, Database, DbError},
    dp::{self, Dp},
    gitops::{
        revision::Source,
        sync::{POLL_INTERVAL, RevisionState, SyncConfig, SyncError},
    },
    source::Guarded,
    transport::{
        install_crypto,
        limits::Limits,
        measure::measured,
        server::{Allowed, serve, serve_plain},
        serving::{Serving, ServingError},
        tls::{ServerTls, TlsError},
    },
    trust::{
        ca::{CaError, CertificateAuthority},
        keys::{KeyError, SiteKey, TrustedKeys},
    },
    wire::{access::Snapshot, enrol},
};

/// Everything declared is compared with everything applied this often, whatever was noticed meanwhile.
const SYNC_INTERVAL: Duration = Duration::from_secs(600);

/// Why a site server does not run.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The site database.
    #[error("the site database cannot be used")]
    Database(#[from] DbError),
    /// The Kubernetes API's store.
    #[error("the embedded Kubernetes API cannot be opened")]
    Api(#[from] OpenError),
    /// The Kubernetes API's credentials.
    #[error("the credentials of the embedded Kubernetes API cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The content library.
    #[error("the content library cannot be opened")]
    Library(#[from] ContentError),
    /// The built-in distribution point.
    #[error("the built-in distribution point cannot be opened")]
    Point(#[from] dp::StoreError),
    /// The site's keys.
    #[error("the site's signing key cannot be used")]
    Key(#[from] KeyError),
    /// The device authority.
    #[error("the device authority cannot be used")]
    Authority(#[from] CaError),
    /// A listener's certificate.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// A listener's TLS.
    #[error("a listener's TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// A file for programs.
    #[error("{0} cannot be written")]
    Write(PathBuf, #[source] std::io::Error),
    /// An address is taken or not ours.
    #[error("cannot listen on {0}; is another site running? Choose another address")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A directory that was named does not exist.
    #[error("{0} does not exist or cannot be read")]
    Directory(PathBuf, #[source] std::io::Error),
    /// The site's own objects cannot be made.
    #[error("the site's own objects cannot be made")]
    OwnObjects(#[source] Box<kube::Error>),
    /// Git sync cannot begin.
    #[error("git sync cannot begin")]
    Sync(#[from] SyncError),
    /// A part ended although nobody asked it to.
    #[error("{0} ended unexpectedly; the log says more")]
    Ended(&'static str),
}

/// Runs a site server until `shutdown` is cancelled. `ready` is told where it listens once everything is up.
///
/// # Errors
/// [`SiteError`], each with the remedy.
pub async fn run(
    options: Options,
    ready: oneshot::Sender<Endpoints>,
    shutdown: CancellationToken,
) -> Result<(), SiteError> {
    install_crypto();
    let parts = Parts::open(&options).await?;
    let listeners = Listeners::bind(&options).await?;
    // On the heap: the future of a whole site is large.
    Box::pin(assemble(options, parts, listeners, ready, shutdown)).await
}

/// What lies in the state directory, opened.
struct Parts {
    state: StateDirectory,
    database: Database,
    library: Arc<Library>,
    key: Arc<SiteKey>,
    authority: Arc<CertificateAuthority>,
    credentials: Credentials,
    api: ApiServer,
    late: Arc<OnceLock<fleet::Late>>,
    site: SiteIdentity,
}

impl Parts {
    async fn open(options: &Options) -> Result<Self, SiteError> {
        let state = StateDirectory::open(&options.state)?;
        let now = clock::now();
        let database = Database::open(&state.join("site.db"), now)?;
        let row = database.read(db::site::read).await?;
        let site = SiteIdentity { id: row.id, name: options.name.clone(), epoch: row.epoch };
        let crds = api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap_or_default()).collect();
        let late = Arc::new(OnceLock::new());
        let fleet = fleet::Parts { database: database.clone(), site: site.clone(), late: late.clone() };
        let fleet = Some(fleet::fleet(fleet));
        let api = ApiServer::open(crate::apiserver::Options { database: state.join("api.db"), crds, fleet })?;
        Ok(Self {
            library: Arc::new(Library::open(&state.join("library"))?),
            key: Arc::new(SiteKey::load_or_create(&state.join("keys/site.key"))?),
            authority: Arc::new(CertificateAuthority::load_or_create(&state.join("devices"), &site.name, now)?),
            credentials: Credentials::load_or_create(&state.join("api"), options.serving_lifetime, now)?,
            state,
            database,
            api,
            late,
            site,
        })
    }
}

async fn assemble(
    options: Options,
    parts: Parts,
    listeners: Listeners,
    ready: oneshot::Sender<Endpoints>,
    shutdown: CancellationToken,
) -> Result<(), SiteError> {
    let Parts { state, database, library, key, authority, credentials, api, late, site } = parts;
    let endpoints = endpoints(&options, &listeners, &state, &authority, &site)?;
    let kubeconfigs = credentials.kubeconfigs(state.path(), &endpoints.api_url)?;
    write_endpoints(&state, &endpoints)?;
    let client = api.client(Identity::Component("site".into()));
    let own = sync::ensure_own_objects(&client, &site.name).await;
    own.map_err(|error| SiteError::OwnObjects(Box::new(error)))?;

    // What controllers, offer manager and points share.
    let (controllers, stores, nudges) = Controllers::new(&client);
    let (evaluated_sender, evaluated) = watch::channel(Arc::default());
    let (published_sender, published) = watch::channel(Arc::default());
    let (snapshot_sender, snapshot) = watch::channel::<Option<Arc<Snapshot>>>(None);
    let (revision_sender, revision) = watch::channel(Revision { applying: true, ..Revision::default() });
    let _ = late.set(fleet::Late {
        stores: stores.clone(),
        evaluated: evaluated.clone(),
        enrolment_url: endpoints.enrolment_url.clone(),
        ca_sha256: endpoints.ca_sha256,
    });
    let compiling = Arc::<tokio::sync::RwLock<()>>::default();
    let (reevaluate, points_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let served = served_root(&options.served)?;
    let mut roots = vec![served.clone()];
    for root in &options.source_roots {
        roots.push(root.canonicalize().map_err(|error| SiteError::Directory(root.clone(), error))?);
    }
    let looks = Arc::<SourceLooks>::default();
    let ctx = Arc::new(Context {
        client: client.clone(),
        database: database.clone(),
        looks: looks.clone(),
        read_source: sources::reader(library.clone(), roots.clone(), Guarded::new(state.path())),
        site: site.clone(),
        key: key.clone(),
        stores: stores.clone(),
        nudges: nudges.clone(),
        evaluated: evaluated.clone(),
        revision: revision.clone(),
        compiling: compiling.clone(),
        reevaluate: reevaluate.clone(),
        points_changed: points_changed.clone(),
        pace: Default::default(),
        look_interval: options.look_interval,
    });
    let offers = OfferManager {
        database: database.clone(),
        stores: stores.clone(),
        nudges: nudges.clone(),
        site: site.clone(),
        key: key.clone(),
        reevaluate: reevaluate.clone(),
        revision: revision.clone(),
        compiling: compiling.clone(),
        device_url: endpoints.device_url.clone(),
        evaluated: evaluated_sender,
        published: published_sender,
        snapshot: snapshot_sender,
    };
    let points = Points {
        database: database.clone(),
        stores: stores.clone(),
        evaluated,
        site: site.clone(),
        changed: points_changed,
    };
    let intake = Intake {
        database: database.clone(),
        ca: authority.certificate_der().into(),
        key: key.clone(),
        site: site.clone(),
        stores: stores.clone(),
    };
    let enrolment = Enrolment {
        database: database.clone(),
        authority: authority.clone(),
        site_id: site.id.clone(),
        epoch: site.epoch,
        signing_keys: TrustedKeys::from_iter([key.public()]),
        endpoints: enrol::Endpoints {
            site_url: endpoints.device_url.clone(),
            cap_urls: vec![endpoints.device_url.clone()],
        },
        lifetime: options.certificate_lifetime,
        permits: Enrolment::permits(),
    };

    let signals = Signals {
        database: database.clone(),
        client: client.clone(),
        stores: stores.clone(),
        nudges: nudges.clone(),
        evaluated: points.evaluated.clone(),
        points_changed: points.changed.clone(),
        site: site.name.clone(),
    };
    let builtin =
        Builtin { name: site.name.clone(), points: points.clone(), intake: intake.clone(), library: library.clone() };
    let dp_config = dp::Config { name: site.name.clone(), url: endpoints.device_url.clone(), state: state.join("dp") };
    let dp = Dp::open(dp_config, Arc::new(builtin))?;

    // Listeners.
    let names = names(&options, &listeners);
    let serving = Serving::new(authority.clone(), names.clone(), options.serving_lifetime)?;
    let api_serving = Serving::new(credentials.authority().clone(), names, options.serving_lifetime)?;
    let api_tls = ServerTls::kubernetes(api_serving.certificate(), credentials.authority().certificate_pem())?;
    let devices_tls = ServerTls::devices(serving.certificate(), authority.certificate_pem())?;
    let enrolment_tls = ServerTls::enrolment(serving.certificate())?;
    let cap = Cap::new(published.clone(), Arc::new(intake.clone()));
    let device_routes = SiteRoutes {
        points,
        intake: intake.clone(),
        library: library.clone(),
        snapshots: Snapshots::new(snapshot),
        reevaluate,
        enrolment: enrolment.clone(),
    }
    .router()
    .merge(cap::routes::router(cap.clone()))
    .merge(dp.router());
    let device_routes = measured("devices", device_routes);
    let enrolment_routes = measured("enrolment", enrolment.router());
    let health = measured("health", health::router(database.clone()));
    let (refused_sender, refused) = watch::channel(Default::default());
    let allowed: Allowed = {
        let refused: watch::Receiver<std::collections::BTreeSet<String>> = refused;
        Arc::new(move |peer| !refused.borrow().contains(&peer.id))
    };
    let anybody: Allowed = Arc::new(|_| true);

    // Git sync.
    let (states_sender, states) = watch::channel(RevisionState::default());
    let sync_config = SyncConfig {
        source: match &options.served {
            Served::Directory(_) => Source::Directory(served),
            Served::Branch { branch, .. } => Source::Branch { repository: served, branch: branch.clone() },
        },
        state: state.join("sync"),
        name: site.name.clone(),
        resync: options.look_interval.unwrap_or(SYNC_INTERVAL),
        poll: options.look_interval.unwrap_or(POLL_INTERVAL),
        compiling,
    };
    let git_sync = crate::gitops::sync::run(
        sync_config,
        api.client(Identity::Component("git-sync".into())),
        states_sender,
        shutdown.clone(),
    );

    let _ = ready.send(endpoints);
    tracing::info!(site = %site.name, "the site is served");
    let limits = Limits::default();
    // The largest that any route takes; each route has its own limit below it.
    let device_limits = Limits { body_bytes_max: REPORT_BYTES_MAX, ..limits };
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = controllers.run(ctx, shutdown.clone().cancelled_owned()) => Err(SiteError::Ended("the controllers")),
        () = signals.follow() => Err(SiteError::Ended("the database")),
        () = signals.sweep() => Err(SiteError::Ended("the sweep")),
        () = offers.run() => Err(SiteError::Ended("the offer manager")),
        () = shelf::keep(database.clone(), library, stores.packages.clone()) => Err(SiteError::Ended("the collection of old content")),
        () = sources::follow(stores.clone(), revision, roots, looks, nudges.clone()) => Err(SiteError::Ended("the watch of sources")),
        () = sync::follow(states, revision_sender, stores, nudges, site.name.clone()) => Err(SiteError::Ended("git sync")),
        done = git_sync => done.map_err(SiteError::from).and(Err(SiteError::Ended("git sync"))),
        () = cap.tell_who_polls() => Err(SiteError::Ended("the built-in access point")),
        () = dp.run(shutdown.clone()) => Err(SiteError::Ended("the built-in distribution point")),
        () = serving.keep() => Err(SiteError::Ended("certificate renewal")),
        () = api_serving.keep() => Err(SiteError::Ended("certificate renewal of the Kubernetes API")),
        () = kubeconfigs.keep() => Err(SiteError::Ended("the renewal of kubeconfigs")),
        () = refuse(database, refused_sender) => Err(SiteError::Ended("the list of refused devices")),
        () = api.serve(listeners.api, api_tls, shutdown.clone()) => Err(SiteError::Ended("the Kubernetes API")),
        () = serve(listeners.devices, devices_tls, device_routes, device_limits, allowed, shutdown.clone()) =>
            Err(SiteError::Ended("the device listener")),
        () = serve(listeners.enrolment, enrolment_tls, enrolment_routes, limits, anybody, shutdown.clone()) =>
            Err(SiteError::Ended("the enrolment listener")),
        () = serve_plain(listeners.health, health, limits, shutdown.clone()) => Err(SiteError::Ended("the health listener")),
    };
    // Parts end when the site is told to stop, and any of them may be the first to be heard of: that is no failure.
    if shutdown.is_cancelled() { Ok(()) } else { ended }
}

/// Keeps the set of devices that are blocked or deleted, so that a block acts at once.
async fn refuse(database: Database, refused: watch::Sender<std::collections::BTreeSet<String>>) {
    use tokio::sync::broadcast::error::RecvError;
    let mut changes = database.subscribe();
    loop {
        match database.read(db::devices::refused).await {
            Ok(ids) => {
                refused.send_replace(ids.into_iter().collect());
            }
            Err(error) => tracing::error!(%error, "the list of refused devices could not be read"),
        }
        loop {
            match changes.recv().await {
                Ok(db::Change::Devices(_)) | Err(RecvError::Lagged(_)) => break,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

fn served_root(served: &Served) -> Result<PathBuf, SiteError> {
    let (Served::Directory(path) | Served::Branch { repository: path, .. }) = served;
    path.canonicalize().map_err(|error| SiteError::Directory(path.clone(), error))
}
