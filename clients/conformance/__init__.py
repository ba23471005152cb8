"""What every client of the stream must do, as scenarios that a scripted node plays to any SDK with a driver."""
