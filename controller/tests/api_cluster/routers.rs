//! The tables of the routers over HTTP.

use crate::http::Http;
use controller::ops::Live;
use proto::api::{RoutedName, RouterTable, RouterTables};
use std::sync::Arc;

#[tokio::test]
async fn administrators_see_what_routers_know() {
    let routers = Arc::new(|host: Option<String>, most: usize| {
        let route = RoutedName {
            route: host.unwrap_or_default(),
            ..RoutedName::default()
        };
        let heard = RouterTable {
            router: "router-1".into(),
            routes: vec![route],
            left_off: most as u64,
            problem: None,
        };
        Box::pin(async move { vec![heard] }) as _
    });
    let live = Live {
        routers,
        ..Live::none()
    };
    let http = Http::with(live, None).await;
    let admin = http.admin().await;
    let asked = "/yard/v1/router/routes?host=shop.example.com&limit=7";
    let told: RouterTables = serde_json::from_value(admin.get(asked).await.expect(200)).unwrap();
    assert_eq!(told.resources[0].routes[0].route, "shop.example.com");
    assert_eq!(told.resources[0].left_off, 7);
    for bad in ["limit=0", "limit=10001", "hots=a"] {
        let path = format!("/yard/v1/router/routes?{bad}");
        admin.get(&path).await.refused(400);
    }
    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    dora.get(asked).await.refused(403);
}
