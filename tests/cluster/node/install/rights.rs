//! Rights, held against the API server's audit log: what the accounts of the chart did, and what they may.

use std::collections::BTreeSet;

use super::{Site, json, site::RELEASE};
use crate::api_level::audit::{self, Request};

impl Site {
    /// What the chart's accounts asked the API server so far.
    fn requests(&self) -> Vec<Request> {
        let ours = format!("system:serviceaccount:{RELEASE}:waybill");
        let all = audit::requests(self.node.directory());
        all.into_iter().filter(|request| request.user.starts_with(&ours)).collect()
    }

    /// They were refused nothing, and read no Secret.
    #[track_caller]
    pub(super) fn nothing_was_refused(&self) {
        let requests = self.requests();
        assert!(requests.len() > 50, "the audit log has {} requests", requests.len());
        let refused = audit::out_of_line(&requests);
        assert!(refused.is_empty(), "{refused:#?}");
    }

    /// Besides, each verb that they may was used.
    #[track_caller]
    pub(super) fn granted_is_used(&self) {
        self.nothing_was_refused();
        let ours = self.requests();
        let used: BTreeSet<(&str, &str)> = ours.iter().map(|r| (r.resource.as_str(), r.verb.as_str())).collect();
        let mut unused = Vec::new();
        for (kind, namespaced) in [("clusterroles", false), ("roles", true)] {
            let mut words = vec!["get", kind, "--selector=app.kubernetes.io/instance=waybill", "--output=json"];
            if namespaced {
                words.extend(["--namespace", RELEASE]);
            }
            for role in json(&self.node.kubectl(&words).unwrap()).unwrap()["items"].as_array().unwrap() {
                let name = role["metadata"]["name"].as_str().unwrap();
                // Roles for people are not the site's.
                if name.starts_with("waybill-") {
                    continue;
                }
                for rule in role["rules"].as_array().unwrap() {
                    let texts =
                        |member: &str| rule[member].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
                    for resource in texts("resources") {
                        unused.extend(
                            texts("verbs")
                                .filter(|verb| !used.contains(&(resource, verb)))
                                .map(|v| format!("{v} {resource}")),
                        );
                    }
                }
            }
        }
        assert!(unused.is_empty(), "granted and never used: {unused:?}");
    }
}
