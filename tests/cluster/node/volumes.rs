//! Volumes of the node: `local` ones, because a group can be given those, which is how pods that are not root write to them.

use std::path::PathBuf;

use serde_json::json;

use super::Node;

impl Node {
    /// A volume for one claim, as a directory of the node.
    #[track_caller]
    pub(crate) fn volume(&self, name: &str, namespace: &str, claim: &str) -> PathBuf {
        let directory = self.directory.join("volumes").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let on_the_node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]});
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "100Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": claim},
                "local": {"path": directory},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_the_node]}]}},
            },
        });
        self.apply(&format!("volume-{name}"), &volume.to_string());
        directory
    }
}
