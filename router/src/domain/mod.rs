//! What the router decides, without a socket, a clock or a bus: time, randomness and messages
//! come in as arguments.

pub mod access_line;
pub mod account;
pub mod announcement;
pub mod answer_head;
pub mod balance;
pub mod chunks;
pub mod compression;
pub mod decimal;
pub mod departures;
pub mod forwarding;
pub mod frames;
pub mod framing;
pub mod header_room;
pub mod header_rules;
pub mod http2;
pub mod identity;
pub mod log_rules;
pub mod policy;
pub mod ports;
pub mod proxy_header;
pub mod refusal;
pub mod reply_head;
pub mod request_head;
pub mod route_rules;
pub mod route_service;
pub mod server_names;
pub mod sleepers;
pub mod sticky;
pub mod table;
pub mod tags;
pub mod tally;
pub mod trace_context;
pub mod uri;
pub mod websocket;
