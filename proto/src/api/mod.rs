//! Documents of the public API (contract §1), shared by the controller and `yard`.
