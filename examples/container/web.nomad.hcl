job "web" {
  group "web" {
    network {
      port "http" { to = 8080 }
    }

    # The service is deregistered first, then this passes before the signal.
    shutdown_delay = "2s"

    task "web" {
      driver      = "docker"
      kill_signal = "SIGTERM"
      # 5 s of drain delay, 15 s of stop timeout, and some room.
      kill_timeout = "25s"

      config {
        image   = "registry.example/web:1"
        ports   = ["http"]
        entrypoint = ["/remuda", "run", "--name", "web", "-b", "0.0.0.0:8080", "--drain-delay", "5s", "--stop-timeout", "15s", "--", "/web"]
      }

      service {
        name     = "web"
        port     = "http"
        provider = "nomad"
        check {
          type     = "tcp"
          interval = "5s"
          timeout  = "2s"
        }
      }

      resources {
        memory = 64
      }
    }
  }
}
