//! Sensors: what packs bring, and switching one on or off.

use super::callers::Permission;
use super::fault::Fault;
use super::resources;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::ops::now;
use crate::store::automation::sensor_types::SensorType;
use crate::store::query::Filter;
use crate::store::sql::Connection;

impl Automation {
    /// The engine starts or ends it at once: the generation says that it changed.
    pub async fn enable_sensor(
        &self,
        caller: &Caller,
        ref_or_id: &str,
        enabled: bool,
    ) -> Result<SensorType, Fault> {
        caller.allow(Permission::Modify, "sensor_modify")?;
        let mut tx = self.ops.store.write("switch a sensor").await?;
        let mut row = resources::get::<SensorType>(&mut tx, ref_or_id).await?;
        if row.enabled != enabled {
            row.enabled = enabled;
            row.generation += 1;
            row.update(&mut tx, now()).await?;
            tx.commit().await?;
            self.nudge();
        }
        Ok(row)
    }
}

/// What sensors of a pack were started with changed: they start anew.
pub async fn restart_of_pack(
    connection: &mut Connection,
    pack: &str,
    now: i64,
) -> Result<(), Fault> {
    let filter = Filter::new().equals("pack", pack);
    for mut row in SensorType::fetch(connection, filter, "sensors of a pack").await? {
        row.generation += 1;
        row.update(connection, now).await?;
    }
    Ok(())
}
