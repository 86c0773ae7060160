//! Starts a site server and runs it until it is told to stop: state, Kubernetes API, controllers, offer manager, git
//! sync, listeners. Read [`assemble`] to see how the parts fit.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::middleware::from_fn_with_state;
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    aggregated::Aggregated,
    builtin::Builtin,
    claim, definitions,
    enrol::Enrolment,
    error::SiteError,
    first_grant::FirstGrant,
    fleet, health,
    intake::Intake,
    listeners::{Listeners, bind_health, endpoints, names, served_rows, write_endpoints},
    objects::{Cluster, Objects},
    offers::OfferManager,
    options::{ObjectsIn, Options, Started},
    places::Places,
    points::Points,
    refused::refuse,
    routes::{REPORT_BYTES_MAX, SiteRoutes},
    shelf,
    signals::Signals,
    snapshot::Snapshots,
    sources,
    state::{self, StateDirectory},
    sync,
    tenure::{self, Holder, Tenure},
    vitals::{Organs, Vitals},
    watched::Watched,
};
use crate::{
    api,
    cap::{self, Cap},
    clock,
    content::library::Library,
    controller::{
        context::{Context, Revision, SiteIdentity},
        looks::SourceLooks,
        start::Controllers,
    },
    db::{self, Database},
    dp::{self, Dp},
    gitops::sync::{POLL_INTERVAL, SyncConfig},
    source::{Guarded, watch::SourceWatch},
    transport::{
        install_crypto,
        limits::Limits,
        measure::measured,
        server::{Allowed, serve, serve_plain},
        serving::Serving,
        tls::ServerTls,
    },
    trust::{
        ca::CertificateAuthority,
        keys::{SiteKey, TrustedKeys},
    },
    wire::{access::Snapshot, enrol, turned_away::TurnedAway},
};

/// Everything declared is compared with everything applied this often, whatever was noticed meanwhile.
const SYNC_INTERVAL: Duration = Duration::from_secs(600);

/// Runs a site server until `shutdown` is cancelled. `ready` is told where it listens once everything is up.
///
/// # Errors
/// [`SiteError`], each with the remedy.
pub async fn run(
    options: Options,
    ready: oneshot::Sender<Started>,
    shutdown: CancellationToken,
) -> Result<(), SiteError> {
    install_crypto();
    let places = Places::look(&options).await?;
    let (listener, vitals) = (bind_health(&options).await?, Vitals::new());
    let health = Health { address: listener.local_addr().unwrap_or(options.listen.health), vitals: vitals.clone() };
    let router = measured("health", health::router(vitals));
    tokio::select! {
        done = act(options, places, health, ready, shutdown) => done,
        // Asked to the last: only then nothing acts any more.
        () = serve_plain(listener, router, Limits::default(), CancellationToken::new()) =>
            Err(SiteError::Ended("the health listener")),
    }
}

/// Where health is asked, and what is answered.
struct Health {
    address: SocketAddr,
    vitals: Vitals,
}

/// Waits until this instance may act, and acts.
async fn act(
    options: Options,
    places: Places,
    health: Health,
    ready: oneshot::Sender<Started>,
    shutdown: CancellationToken,
) -> Result<(), SiteError> {
    let cluster = tokio::select! {
        entered = Cluster::enter(&options) => entered?,
        () = shutdown.cancelled() => return Ok(()),
    };
    health.vitals.starts();
    let holder = cluster.as_ref().map(|cluster| cluster.holder.clone());
    // From now on, and by itself: to open a large state takes longer than a Lease lasts.
    let mut kept = JoinSet::new();
    if let Some(holder) = holder.clone() {
        kept.spawn(async move { holder.keep().await });
    }
    let done = async {
        let parts = Parts::open(&options, cluster).await?;
        let listeners = Listeners::bind(&options).await?;
        // On the heap: the future of a whole site is large.
        Box::pin(assemble(options, places, parts, listeners, health, ready, shutdown)).await
    };
    let done = tokio::select! {
        done = done => done,
        Some(_) = kept.join_next() => Err(SiteError::LeaseLost),
    };
    kept.shutdown().await;
    if let Some(holder) = holder {
        holder.give_back().await;
    }
    done
}

/// What lies in the state directory, opened.
struct Parts {
    state: StateDirectory,
    database: Database,
    library: Arc<Library>,
    key: Arc<SiteKey>,
    authority: Arc<CertificateAuthority>,
    objects: Objects,
    late: Arc<OnceLock<fleet::Late>>,
    site: SiteIdentity,
    /// Of a site beside a cluster.
    holder: Option<Holder>,
    /// Likewise.
    watched: Option<Watched>,
}

impl Parts {
    async fn open(options: &Options, cluster: Option<Cluster>) -> Result<Self, SiteError> {
        let mut state = StateDirectory::open(&options.state, options.name.as_deref())?;
        let now = clock::now();
        let database = Database::open(&state.join("site.db"), now)?;
        if let (Some(cluster), ObjectsIn::Cluster { adopt, .. }) = (&cluster, &options.objects) {
            claim::claim(&cluster.client, state.site(), &database, *adopt).await?;
            definitions::look(&cluster.client).await;
        }
        let row = database.read(db::site::read).await?;
        let site = SiteIdentity { id: row.id, name: state.site().to_owned(), epoch: row.epoch };
        let late = Arc::new(OnceLock::new());
        let fleet = fleet::Parts { database: database.clone(), site: site.clone(), late: late.clone() };
        let objects = Objects::open(options, cluster.as_ref(), &state, fleet::fleet(fleet))?;
        let key = Arc::new(SiteKey::load_or_create(&state.join(state::SITE_KEY))?);
        let authority = Arc::new(CertificateAuthority::load_or_create(&state.join("devices"), &site.name, now)?);
        state.keep_keys()?;
        Ok(Self {
            library: Arc::new(Library::open(&state.join("library"))?),
            key,
            authority,
            state,
            database,
            objects,
            late,
            site,
            watched: cluster.as_ref().map(|cluster| cluster.watched.clone()),
            holder: cluster.map(|cluster| cluster.holder),
        })
    }
}

async fn assemble(
    options: Options,
    places: Places,
    parts: Parts,
    listeners: Listeners,
    health: Health,
    ready: oneshot::Sender<Started>,
    shutdown: CancellationToken,
) -> Result<(), SiteError> {
    let Parts { state, database, library, key, authority, objects, late, site, holder, watched } = parts;
    let tenure = holder.as_ref().map_or(Tenure::unlimited(), Holder::tenure);
    let endpoints = endpoints(&options, &listeners, health.address, &state, &authority, &site)?;
    let (client, sync_client) = (objects.client("site"), objects.client("git-sync"));
    let embedded = objects.embedded();
    let first_grant = objects.are_own().then(|| FirstGrant { client: sync_client.clone(), site: site.name.clone() });
    let names = names(&options, &listeners);
    let beside_cluster = objects.beside_cluster();
    let lifetime = options.serving_lifetime;
    let api = objects.listener(state.path(), &endpoints.api_url, names.clone(), lifetime, &authority)?;
    write_endpoints(&state, &endpoints)?;
    if holder.is_none() {
        let own = sync::ensure_own_objects(&client, &site.name).await;
        own.map_err(|error| SiteError::OwnObjects(Box::new(error)))?;
    }

    // What controllers, offer manager and points share.
    let (reevaluate, points_changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (controllers, stores, nudges) = Controllers::new(&client, options.watch_timeout);
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
    let source_watch = Arc::new(SourceWatch::new());
    let Places { source, roots, notice } = places;
    if source.is_none() {
        // What others write is in force as it is; relative sources lie beneath the first root.
        let root = roots.first().cloned().unwrap_or_default();
        revision_sender.send_replace(Revision { root, status: Some(Default::default()), ..Revision::default() });
    }
    let looks = Arc::<SourceLooks>::default();
    let ctx = Arc::new(Context {
        client: client.clone(),
        database: database.clone(),
        looks: looks.clone(),
        read_source: sources::reader(library.clone(), roots.clone(), Guarded::new(state.path()), source_watch.clone()),
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
        events: Default::default(),
        removal_deadline: options.removal_deadline,
        displaced: Default::default(),
        fleet: served_rows(&options.objects, &listeners, &authority),
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
    let seen = evaluated.clone();
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
        site_name: site.name.clone(),
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
        sweep_interval: options.look_interval,
    };
    let builtin =
        Builtin { name: site.name.clone(), points: points.clone(), intake: intake.clone(), library: library.clone() };
    let dp_config = dp::Config { name: site.name.clone(), url: endpoints.device_url.clone(), state: state.join("dp") };
    let dp = Dp::open(dp_config, Arc::new(builtin))?;

    let serving = Serving::new(authority.clone(), names, lifetime)?;
    let devices_tls = ServerTls::devices(serving.certificate(), authority.certificate_pem())?;
    let enrolment_tls = ServerTls::anybody(serving.certificate())?;
    let aggregated = Aggregated::of(&options, listeners.aggregated, beside_cluster, serving.certificate(), &authority);
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
    let guarded = || from_fn_with_state(tenure.clone(), tenure::guard);
    let device_routes = measured("devices", device_routes.layer(guarded()));
    let enrolment_routes = measured("enrolment", enrolment.router().layer(guarded()));
    let (refused_sender, refused) = watch::channel(Default::default());
    let allowed: Allowed = {
        let refused: watch::Receiver<BTreeMap<String, TurnedAway>> = refused;
        Arc::new(move |peer| refused.borrow().get(&peer.id).map_or(Ok(()), |why| Err(*why)))
    };
    let anybody: Allowed = Arc::new(|_| Ok(()));

    let sync = sync::Sync {
        config: source.map(|source| SyncConfig {
            source,
            state: state.join("sync"),
            name: site.name.clone(),
            resync: options.look_interval.unwrap_or(SYNC_INTERVAL),
            poll: options.look_interval.unwrap_or(POLL_INTERVAL),
            compiling,
        }),
        first_grant,
        client: sync_client,
        revision: revision_sender,
        stores: stores.clone(),
        nudges: nudges.clone(),
        site: site.name.clone(),
    };

    if let Some(notice) = &notice {
        tracing::warn!("{notice}");
    }
    watched.iter().for_each(|watched| watched.expect(api::crds().into_iter().map(|kind| kind.spec.names.plural)));
    health.vitals.serves(Organs {
        database: database.clone(),
        api: embedded,
        state: state.path().to_owned(),
        tenure: tenure.clone(),
        evaluated: seen,
        watched,
    });
    let _ = ready.send(Started { endpoints, notice });
    tracing::info!(site = %site.name, "the site is served");
    let limits = Limits::default();
    // The largest that any route takes; each route has its own limit below it.
    let device_limits = Limits { body_bytes_max: REPORT_BYTES_MAX, ..limits };
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        lost = state.lost() => Err(lost.into()),
        done = controllers.run(ctx, shutdown.clone().cancelled_owned()) =>
            done.map_err(SiteError::from).and(Err(SiteError::Ended("the controllers"))),
        () = signals.follow() => Err(SiteError::Ended("the database")),
        () = signals.sweep() => Err(SiteError::Ended("the sweep")),
        () = offers.run() => Err(SiteError::Ended("the offer manager")),
        () = shelf::keep(database.clone(), library, client) => Err(SiteError::Ended("the collection of old content")),
        () = sources::follow(stores, revision, roots, source_watch, looks, nudges) => Err(SiteError::Ended("the watch of sources")),
        done = sync.run(shutdown.clone()) => done.map_err(SiteError::from).and(Err(SiteError::Ended("git sync"))),
        () = cap.tell_who_polls() => Err(SiteError::Ended("the built-in access point")),
        () = dp.run(shutdown.clone()) => Err(SiteError::Ended("the built-in distribution point")),
        () = serving.keep() => Err(SiteError::Ended("certificate renewal")),
        () = refuse(database, refused_sender) => Err(SiteError::Ended("the list of refused devices")),
        () = api.serve(listeners.api, shutdown.clone()) => Err(SiteError::Ended("the Kubernetes API")),
        done = Aggregated::run(aggregated, shutdown.clone()) => done.and(Err(SiteError::Ended("the aggregated API"))),
        () = serve(listeners.devices, devices_tls, device_routes, device_limits, allowed, shutdown.clone()) =>
            Err(SiteError::Ended("the device listener")),
        () = serve(listeners.enrolment, enrolment_tls, enrolment_routes, limits, anybody, shutdown.clone()) =>
            Err(SiteError::Ended("the enrolment listener")),
    };
    // Parts end when the site is told to stop, and any of them may be the first to be heard of: that is no failure.
    if shutdown.is_cancelled() { Ok(()) } else { ended }
}
