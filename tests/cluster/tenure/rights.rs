//! The site of a test may what the chart gives its account and nothing else: whatever a test does to it, it was refused nothing and
//! read no Secret. The node's tests say the same of pods.

use std::thread;

use kube::Client;

use super::site::Place;
use crate::{api_level::audit, chart, require};

/// Gives the site's account its rights.
pub(super) async fn give(client: &Client) {
    let helm = require::program("helm").expect("the chart says what the site may: helm renders it");
    chart::give(client, &chart::rendered(&helm), "waybill", &chart::SITE).await;
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let requests = audit::requests(&self.directory);
        let refused = audit::out_of_line(requests.iter().filter(|request| request.user == chart::SITE.name));
        assert!(refused.is_empty(), "{refused:#?}");
    }
}
