# The server to replicate from.

variable "app_host" {
  description = "Host name or address of the source."
  type        = string
}

variable "app_port" {
  description = "Port of the source."
  type        = number
  default     = 5432
}

variable "app_admin" {
  description = "Who may create users and grants at the source."
  type        = string
  default     = "postgres"
}

variable "app_admin_password" {
  description = "Password of that administrator."
  type        = string
  sensitive   = true
  ephemeral   = true # in neither plan nor state
}

# The server to replicate to.

variable "warehouse_host" {
  description = "Host name or address of the destination."
  type        = string
}

variable "warehouse_port" {
  description = "Port of the destination."
  type        = number
  default     = 5432
}

variable "warehouse_admin" {
  description = "Who may create users, databases and grants at the destination."
  type        = string
  default     = "postgres"
}

variable "warehouse_admin_password" {
  description = "Password of that administrator."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "app_stitch_password" {
  description = "Password of the user \"stitch\" at the source."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "warehouse_stitch_password" {
  description = "Password of the user \"stitch\" at the destination. Never give both servers one password."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "run" {
  description = "Any other value makes the next apply replicate once more."
  type        = string
  default     = "1"
}
