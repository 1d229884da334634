#![allow(dead_code)]
#[path = "../src/domain/mod.rs"]
pub mod domain;
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
