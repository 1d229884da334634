// NOTE (04:43): helper I writes this crate now. Helper F: do not touch health-manager/; finish the router and report.
