#![allow(dead_code)]
pub mod domain {
    #[path = "/work/main/controller/src/domain/deployment.rs"]
    pub mod deployment;
    #[path = "/work/main/controller/src/domain/dispatch.rs"]
    pub mod dispatch;
    #[path = "/work/main/controller/src/domain/observed.rs"]
    pub mod observed;
    #[path = "/work/main/controller/src/domain/placement.rs"]
    pub mod placement;
    #[path = "/work/main/controller/src/domain/names.rs"]
    pub mod names;
    #[path = "/work/main/controller/src/domain/times.rs"]
    pub mod times;
}
#[path = "../src/store/mod.rs"]
pub mod store;
#[path = "../src/blobs/mod.rs"]
pub mod blobs;
#[path = "../src/runtime/mod.rs"]
pub mod runtime;
pub mod api {
    #[path = "/work/main/controller/src/api/internal_bulk.rs"]
    pub mod internal_bulk;
}
extern crate self as controller;
#[path = "/work/main/controller/tests/runtime.rs"]
mod runtime_test;
#[path = "/work/main/controller/tests/store_runtime.rs"]
mod store_runtime_test;
