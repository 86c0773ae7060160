//! The differential test: the same requests go to the embedded API and to the real one, and every field of the answers is
//! compared. The real one is right, always. README.md beside this file says how a request is written down.

mod allowed;
mod compare;
mod normal;
mod openapi;
mod planted;
mod play;
mod script;
mod wire;

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};

use crate::{
    api_level::{ADMIN, RealApi, definitions},
    embedded::Served,
};
use compare::Difference;
use planted::Planted;
use play::Player;
use script::Group;
use wire::Endpoint;

/// Groups under way at once. Most of the time they wait for watches to end.
const AT_ONCE: usize = 12;

/// Both servers.
struct Pair {
    /// Where the real one is this test's alone, so that its past may be forgotten.
    own: Option<RealApi>,
    /// The real one, the embedded one.
    endpoints: [Endpoint; 2],
    _served: Served,
}

impl Pair {
    async fn of(real: &RealApi) -> Pair {
        let served = Served::with(definitions());
        served.listen().await;
        let embedded = std::fs::read_to_string(served.kubeconfig()).unwrap();
        let endpoints = [Endpoint::of(&real.kubeconfig(&ADMIN, "default")), Endpoint::of(&embedded)];
        Pair { own: None, endpoints, _served: served }
    }

    /// Plays a group on both; `planted` spoils the embedded server's answers.
    async fn compare(&self, group: &Group, planted: Option<Planted>) -> (usize, Vec<Difference>) {
        // names of equal length, so that limits are met alike; they are taken out of the answers last of all
        let names = ["r", "e"].map(|server| format!("{}-0{server}", group.name));
        let [mut real, mut embedded] = [
            Player::new(self.endpoints[0].clone(), &names[0], None),
            Player::new(self.endpoints[1].clone(), &names[1], planted),
        ];
        futures::join!(real.prepare(), embedded.prepare());
        let (mut count, mut found) = (0, Vec::new());
        for request in &group.requests {
            if request.compact {
                self.own.as_ref().expect("a server of its own").compact().await;
            }
            let (expected, got) = futures::join!(real.play(request), embedded.play(request));
            for ((id, expected), (_, got)) in expected.into_iter().zip(got) {
                let [expected, got] = [(expected, &names[0]), (got, &names[1])].map(|(answer, name)| {
                    let text = serde_json::to_string(&answer).unwrap().replace(name.as_str(), "NS");
                    serde_json::from_str(&text).unwrap()
                });
                found.extend(compare::differences(&group.name, &id, &expected, &got));
                count += 1;
            }
        }
        (count, found)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_as_the_real_server_answers_it() {
    let Some(real) = RealApi::start() else { return };
    let mut pair = Pair::of(&real).await;
    pair.own = Some(real);
    // what makes the reference forget its past would disturb the others
    let (last, first): (Vec<Group>, Vec<Group>) =
        script::groups().into_iter().partition(|group| group.requests.iter().any(|request| request.compact));
    let first: Vec<_> =
        stream::iter(&first).map(|group| pair.compare(group, None)).buffer_unordered(AT_ONCE).collect().await;
    let last: Vec<_> = stream::iter(&last).then(|group| pair.compare(group, None)).collect().await;
    let count: usize = first.iter().chain(&last).map(|(count, _)| count).sum();
    let found: Vec<Difference> = first.into_iter().chain(last).flat_map(|(_, found)| found).collect();
    let unexplained = allowed::unexplained(&found, &allowed::list());
    assert!(
        unexplained.is_empty(),
        "{} of {count} requests were answered unlike; not listed in differences.jsonl:\n  {}",
        found.iter().map(|found| (&found.group, &found.id)).collect::<BTreeSet<_>>().len(),
        unexplained.join("\n  ")
    );
    println!("{count} requests, {} differences, all of them listed", found.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_differences_are_found() {
    let Some(real) = RealApi::shared() else { return };
    let pair = Pair::of(real).await;
    let groups = script::groups();
    let list = allowed::list();
    for (planted, name) in
        [(Planted::Code, "crud"), (Planted::Owner, "apply-basics"), (Planted::EventOrder, "watch-selectors")]
    {
        let group = groups.iter().find(|group| group.name == name).unwrap();
        let (_, found) = pair.compare(group, Some(planted)).await;
        let noticed = found.iter().any(|difference| difference.field.split('/').next() == Some(planted.aspect()));
        assert!(noticed, "{planted:?} was not noticed in {name}: {found:?}");
        let told = allowed::unexplained(&found, &list);
        assert!(told.iter().any(|line| line.contains(name)), "{planted:?} is covered by the list: {told:?}");
    }
}
