"""What people need around a failover: status today; doctor, compare, init ... have their place here."""
