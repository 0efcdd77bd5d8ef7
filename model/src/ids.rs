//! One newtype per identifier, so that a space's id can never stand where an app's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that was expected to be a GUID and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a GUID")]
pub struct InvalidId(pub String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh random (version 4) id.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId(text.to_owned()))
            }
        }
    )*};
}

ids! {
    OrgId
    SpaceId
    UserId
    RoleId
    AppId
    PackageId
    BuildId
    DropletId
    /// A process of an app. The `web` process has its app's GUID, as in Cloud Foundry; clients rely on it for ssh.
    ProcessId
    RouteId
    DestinationId
    DomainId
    ServiceInstanceId
    BindingId
    JobId
    /// A release: droplet, env, bindings, processes and routes as one numbered snapshot.
    RevisionId
    DeploymentId
    EventId
    /// One life of one copy of a process. A restarted instance has a new id.
    InstanceId
    /// A build's task, or a one-off task of an app.
    TaskId
    CellId
    /// One life of a cell's ledger: a lost disk or a cloned host is another incarnation.
    Incarnation
    /// A set of properties that needs new containers when it changes (Diego: the version in the process guid).
    VersionId
    /// A byte stream that a server asked a cell to open, outside the control connection.
    StreamId
}

impl AppId {
    /// The id of this app's `web` process.
    #[must_use]
    pub const fn web_process(self) -> ProcessId {
        ProcessId::from_uuid(self.as_uuid())
    }
}
