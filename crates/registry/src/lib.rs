//! Registries of nodes and slots behind the cluster's port.
